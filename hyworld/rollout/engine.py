"""The rollout: remember, denoise, decode, four latents at a time.

    engine.start(text, first_frame=latent, seed=0)
    for chunk in engine.run(trajectory):
        show(chunk.frames)

Source of the loop: WorldPlay `wan/inference/pipeline_wan_w_mem_relative_rope.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, TypedDict

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..camera import Trajectory
from ..config import CHUNK_LATENTS, PATCH, DiTConfig, MemoryConfig
from ..dit import KVMemory, TextKV
from ..errors import InputError
from ..gpu import current
from ..memory import sample_points, select_memory_frames
from ..vae.stream import StreamingDecoder, to_uint8
from .handover import HandOver
from .schedule import CONTEXT_TIMESTEP, STEPS, TIMESTEPS, chunk_noise, step_size
from .state import Chunk, RolloutState


class Progress(NamedTuple):
    """Where a rollout is: `step` of `STEPS` denoising steps of chunk `chunk` are done."""

    chunk: int
    step: int


class Network(Protocol):
    """What the engine asks of the network: `WorldPlayDiT`, or a host's way of calling it."""

    @property
    def config(self) -> DiTConfig:
        """Its sizes."""

    def text_keys_values(self, text: Tensor) -> TextKV:
        """See `WorldPlayDiT.text_keys_values`."""

    def __call__(
        self,
        latents: Tensor,
        timestep: Tensor,
        text_kv: TextKV,
        *,
        viewmats: Tensor,
        intrinsics: Tensor,
        action: Tensor,
        memory: KVMemory | None = None,
        prefill: bool = False,
    ) -> Tensor | None:
        """See `WorldPlayDiT.forward`."""


class Control(TypedDict):
    """Cameras and labels of a forward's frames, as the network takes them."""

    viewmats: Tensor
    intrinsics: Tensor
    action: Tensor


class RolloutEngine:
    """Runs one world at a time; `state` and `resume` switch between worlds.

    Args:
        model: the network, already on `device`.
        decoder: turns finished latents into frames; None leaves `Chunk.frames` empty.
        device, dtype: where and in what precision the network runs. The running latents, the cameras
            and the noise stay in float32.
        decoder_dtype: precision of the decoder; default `dtype`.
        decode_at_once: latents the decoder is fed per call; the frames are the same. Default: 1 on a GPU, which needs
            the least memory, and all 4 on a CPU, where it is three times as fast.
        memory: which past latents a chunk may look at.
        compact_memory: keep half as much per remembered latent, at some cost in time; see `KVMemory`.
        points: the cloud `[n, 3]` that measures how far two views overlap; default: a fixed one.
    """

    def __init__(
        self,
        model: Network,
        *,
        decoder: StreamingDecoder | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        decoder_dtype: torch.dtype | None = None,
        decode_at_once: int | None = None,
        memory: MemoryConfig | None = None,
        compact_memory: bool = False,
        points: Tensor | None = None,
    ) -> None:
        self.model = model
        self.decoder = decoder
        self.device = torch.device(device)
        self.dtype = dtype
        self.decoder_dtype = decoder_dtype or dtype
        self.decode_at_once = decode_at_once or (CHUNK_LATENTS if self.device.type == "cpu" else 1)
        self.memory = memory or MemoryConfig()
        self.compact_memory = compact_memory
        self.points = sample_points(self.memory.points) if points is None else points
        self._state: RolloutState | None = None
        self._text_kv: TextKV = ()
        self._kv: KVMemory | None = None
        self._foreseen: tuple[Tensor, tuple[int, ...]] | None = None

    @torch.no_grad()
    def start(
        self,
        text: Tensor,
        *,
        first_frame: Tensor | None = None,
        latent_size: tuple[int, int] | None = None,
        seed: int = 0,
    ) -> None:
        """Begin a new world.

        Args:
            text: prompt embeddings `[1, L, text_dim]`, zero rows after the prompt's end.
            first_frame: normalised latent `[1, C, 1, h, w]` of the first picture; None starts from text alone.
            latent_size: (h, w) of the latents, needed without a first frame.
            seed: 0 or larger.

        Raises:
            InputError: shapes that do not fit the network.
        """
        config = self.model.config
        if text.ndim != 3 or text.shape[0] != 1 or text.shape[2] != config.text_dim:
            raise InputError(
                f"The prompt embeddings must have the shape [1, tokens, {config.text_dim}], got {list(text.shape)}: "
                "they come from another text encoder than the one this model was trained with."
            )
        if first_frame is not None:
            expected = (1, config.latent_channels, 1)
            if first_frame.ndim != 5 or tuple(first_frame.shape[:3]) != expected:
                raise InputError(
                    f"The first frame's latent must have the shape [1, {config.latent_channels}, 1, h, w], "
                    f"got {list(first_frame.shape)}: encode one picture with the VAE that belongs to the model."
                )
            if latent_size is not None and tuple(first_frame.shape[3:]) != tuple(latent_size):
                raise InputError(
                    f"The first frame's latent is {first_frame.shape[3]}x{first_frame.shape[4]}, but "
                    f"{latent_size[0]}x{latent_size[1]} was asked for: encode the picture at the rollout's size."
                )
            latent_size = (first_frame.shape[3], first_frame.shape[4])
        if latent_size is None:
            raise InputError("A rollout without a first frame needs the size of its latents: pass latent_size=(h, w).")
        if latent_size[0] % PATCH or latent_size[1] % PATCH or min(latent_size) < PATCH:
            raise InputError(f"Both sides of the latents must be even, got {latent_size[0]}x{latent_size[1]}.")
        if seed < 0:
            raise InputError(f"The seed must be 0 or larger, got {seed}.")

        h, w = latent_size
        self.resume(
            RolloutState(
                text=text,
                seed=seed,
                latent_size=(h, w),
                first_frame=first_frame,
                latents=torch.zeros(1, config.latent_channels, 0, h, w, device=self.device),
                viewmats=torch.zeros(0, 4, 4, dtype=torch.float64),
                intrinsics=torch.zeros(0, 3, 3),
                labels=torch.zeros(0, dtype=torch.int64),
            )
        )

    def state(self) -> RolloutState:
        """The world so far, as a value that later steps do not change."""
        if self._state is None:
            raise RuntimeError("The engine has no rollout yet: call start() or resume() first.")
        return self._state

    @torch.no_grad()
    def resume(self, state: RolloutState) -> None:
        """Go on from `state`, which may come from this engine or from another with the same weights."""
        if self._state is None or self._state.text is not state.text:
            with current(self.device):
                self._text_kv = self.model.text_keys_values(state.text.to(self.device, self.dtype))
        tokens = state.latent_size[0] * state.latent_size[1] // PATCH**2
        if self._kv is None or self._kv.tokens_per_frame != tokens:
            self._kv = None  # freed before its successor is allocated
            self._kv = KVMemory(
                self.model.config,
                capacity_frames=self.memory.frames + CHUNK_LATENTS,
                tokens_per_frame=tokens,
                device=self.device,
                dtype=self.dtype,
                compact=self.compact_memory,
            )
        self._state = replace(state, latents=state.latents.to(self.device))

    def run(
        self,
        trajectory: Trajectory,
        chunks: int = 0,
        *,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Iterator[Chunk]:
        """Yield the chunks along `trajectory`, from where the world stands; 0 = as many as the path gives.

        The trajectory begins at the next latent, in the coordinates of the world (those of its first frame).

        Raises:
            InputError: the path is shorter than the chunks asked for.
        """
        path = trajectory.require_chunks(chunks)
        for i in range(path.chunks):
            yield self.step(path.chunk(i), following=path.chunk_after(i), on_progress=on_progress)

    @torch.no_grad()
    def step(
        self,
        cameras: Trajectory,
        *,
        noise: Tensor | None = None,
        following: Trajectory | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Chunk:
        """Generate the next chunk.

        Args:
            cameras: the 4 poses and labels of the new latents, in world coordinates.
            noise: `[1, C, 4, h, w]` to start from instead of the seed's.
            following: the poses of the chunk after this one, where they are known already: what it will remember is
                then chosen while the device still works on this one. They bind to nothing.
            on_progress: called before the first denoising step and after each; what it raises (an interrupt)
                ends the step and leaves the world as it was before.

        Raises:
            InputError: not exactly 4 poses, noise of another shape, or a network that returns NaN.
        """
        before = self.state()
        for poses in (cameras, following):
            if poses is not None and len(poses) != CHUNK_LATENTS:
                raise InputError(f"A chunk takes exactly {CHUNK_LATENTS} camera poses, got {len(poses)}.")
        shape = (1, self.model.config.latent_channels, CHUNK_LATENTS, *before.latent_size)
        if noise is not None and tuple(noise.shape) != shape:
            raise InputError(f"The noise of a chunk must have the shape {list(shape)}, got {list(noise.shape)}.")
        report = on_progress or (lambda progress: None)

        now = before.latents.shape[2]
        world = replace(
            before,
            viewmats=torch.cat((before.viewmats, torch.tensor(cameras.viewmats))),
            intrinsics=torch.cat((before.intrinsics, torch.tensor(cameras.intrinsics, dtype=torch.float32))),
            labels=torch.cat((before.labels, torch.tensor(cameras.labels))),
        )
        remembered = self._remembered(world.viewmats, now)
        # All that comes from the host is sent before the first forward: later it would wait for the device each time.
        context = self._context(world, remembered)
        control = self._control(world, list(range(now, now + CHUNK_LATENTS)))

        with current(self.device), fast_attention(self.device):
            self._prefill(context)
            if noise is None:  # drawn while the device is busy
                noise = chunk_noise(before.seed, before.chunks, shape)
            x = _sent(noise.float(), self.device)
            report(Progress(before.chunks, 0))
            latents = self._denoise(before, x, control, report)
        finite = torch.isfinite(latents).all()
        with current(self.device):
            pictures, cache = self._decode(latents, before.decoder_cache)
        if following is not None:
            ahead = torch.cat((world.viewmats, torch.tensor(following.viewmats)))
            self._foreseen = (ahead, self._remembered(ahead, now + CHUNK_LATENTS))
        frames = None if pictures is None else pictures.collect()
        if not finite:
            raise InputError(
                "The network returned NaN or infinity: choose bfloat16 instead of float16, the attention backend auto, "
                "or check the weights and LoRAs."
            )

        self._state = replace(
            world,
            latents=torch.cat((before.latents, latents), dim=2),
            decoder_cache=cache,
            memory_frames=(*before.memory_frames, remembered),
        )
        return Chunk(index=before.chunks, latents=latents, frames=frames, memory_frames=remembered)

    def _remembered(self, viewmats: Tensor, now: int) -> tuple[int, ...]:
        """Latents that the chunk from `now` on remembers; `viewmats` end with its cameras."""
        if self._foreseen is not None and torch.equal(self._foreseen[0], viewmats):
            return self._foreseen[1]
        return select_memory_frames(viewmats, now, self.points, self.memory)

    def _control(self, world: RolloutState, frames: list[int]) -> Control:
        """Cameras and labels of the given latents, batched, on the device."""
        return {
            "viewmats": world.viewmats[frames].unsqueeze(0).to(self.device, torch.float32),
            "intrinsics": world.intrinsics[frames].unsqueeze(0).to(self.device),
            "action": world.labels[frames].unsqueeze(0).to(self.device),
        }

    def _context(self, world: RolloutState, remembered: tuple[int, ...]) -> tuple[Tensor, Control] | None:
        """The remembered latents with their cameras and labels; None if there are none."""
        if not remembered:
            return None
        frames = list(remembered)
        return world.latents[:, :, frames].to(self.dtype), self._control(world, frames)

    def _prefill(self, context: tuple[Tensor, Control] | None) -> None:
        """Keys and values of the memory frames, clean, at positions 0..K-1: once per chunk."""
        assert self._kv is not None
        self._kv.clear()
        if context is None:
            return
        latents, control = context
        timestep = torch.full((1, latents.shape[2]), CONTEXT_TIMESTEP, device=self.device)
        self.model(latents, timestep, self._text_kv, **control, memory=self._kv, prefill=True)

    def _denoise(self, before: RolloutState, x: Tensor, control: Control, report: Callable[[Progress], None]) -> Tensor:
        """Four Euler steps from noise to latents; a first-frame latent is context and never updated."""
        held = 1 if before.chunks == 0 and before.first_frame is not None else 0
        if held and before.first_frame is not None:
            x = torch.cat((before.first_frame.to(x), x[:, :, held:]), dim=2)
        for step in range(STEPS):
            timestep = torch.full((1, CHUNK_LATENTS), TIMESTEPS[step], device=self.device)
            timestep[:, :held] = CONTEXT_TIMESTEP
            flow = self.model(x.to(self.dtype), timestep, self._text_kv, **control, memory=self._kv)
            assert flow is not None
            moved = x[:, :, held:] + step_size(step) * flow[:, :, held:].float()
            x = torch.cat((x[:, :, :held], moved), dim=2)
            report(Progress(before.chunks, step + 1))
        return x

    def _decode(self, latents: Tensor, cache: Any) -> tuple[HandOver | None, Any]:
        """The latents' pictures, on their way to the host, and the cache to go on from."""
        if self.decoder is None:
            return None, None
        pictures = HandOver()
        for part in latents.to(self.decoder_dtype).split(self.decode_at_once, dim=2):
            frames, cache = self.decoder.decode_stream(part, cache)
            pictures.push(to_uint8(frames))
            cache = list(cache)  # nobody else holds it, so the decoder may use it up
        return pictures, tuple(cache)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`, without waiting for what the device has to do before."""
    pinned = tensor.is_cpu and device.type == "cuda"
    return tensor.pin_memory().to(device, non_blocking=True) if pinned else tensor.to(device)


def fast_attention(device: torch.device) -> AbstractContextManager[None]:
    """Prefer cuDNN's attention, the fastest exact one on recent NVIDIA cards; the others stay as fall-backs."""
    if device.type != "cuda":
        return nullcontext()
    order = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    return sdpa_kernel(order, set_priority=True)
