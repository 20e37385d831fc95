"""The loop: remember, denoise, decode, a chunk of latents at a time.

Source: WorldPlay `wan/inference/pipeline_wan_w_mem_relative_rope.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..camera import Trajectory
from ..config import PATCH, DiTConfig
from ..dit import Inputs, KVMemory, TextKV, WanDiT
from ..errors import InputError
from ..fingerprint import Fingerprint
from ..gpu import current
from ..heap import give_back
from ..memory import sample_points, select_memory_frames
from .decoding import Decoding
from .fit import fitted
from .handover import HandOver
from .recipe import WORLDPLAY, Recipe, chunk_noise
from .world import Chunk, Step, Words, World, words_at

WalkPath = str | Path | Trajectory | Iterable[Trajectory]
"""Where to walk: tokens or a pose file, a trajectory, or one trajectory for each chunk (a list or an iterator)."""


class Progress(NamedTuple):
    """`step` denoising steps of chunk `chunk` are done."""

    chunk: int
    step: int


OnProgress = Callable[[Progress], None]

Foresee = Callable[[Trajectory], Trajectory]
"""A chunk's poses → those of the chunk that will probably follow."""


class Network(Protocol):
    """What a walker asks of the network: `WanDiT`, or a host's way of calling it."""

    @property
    def config(self) -> DiTConfig:
        """Its sizes."""

    @property
    def fingerprint(self) -> Fingerprint:
        """Tells it from others of its sizes; empty if not known."""

    def text_keys_values(self, text: Tensor) -> TextKV:
        """See `WanDiT.text_keys_values`."""

    def image_keys_values(self, clip: Tensor) -> TextKV:
        """See `WanDiT.image_keys_values`."""

    def __call__(self, inputs: Inputs) -> Tensor | None:
        """See `WanDiT.forward`."""


class Walker:
    """Walks in any world; keeps no world, only buffers.

    network: already on `device`.
    recipe: what the checkpoint fixes of the loop.
    decoding: latents → frames; None leaves `Chunk.frames` empty.
    dtype: of the network. Running latents, cameras and noise stay in float32.
    vae: fingerprint of the VAE whose latents these are.
    compact_memory: half the memory for keys and values, some more time; see `KVMemory`.
    points: the cloud `[n, 3]` that measures the overlap of views; default: a fixed one.
    give_back_every: chunks on a CPU after which freed memory goes back to the system, see `heap`.
    """

    give_back_every = 1

    def __init__(
        self,
        network: Network,
        *,
        recipe: Recipe = WORLDPLAY,
        decoding: Decoding | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        vae: Fingerprint = (),
        compact_memory: bool = False,
        points: Tensor | None = None,
    ) -> None:
        self.network = network
        self.recipe = recipe
        self.decoding = decoding
        self.device = torch.device(device)
        self.dtype = dtype
        self.vae = vae
        self.compact_memory = compact_memory
        self._points = sample_points(recipe.memory.points) if points is None else points
        self._text: tuple[Tensor, TextKV] | None = None
        self._kv: KVMemory | None = None
        self._foreseen: tuple[Tensor, tuple[int, ...]] | None = None

    def begin(
        self,
        text: Tensor,
        *,
        prompt: str = "",
        first_frame: Tensor | None = None,
        latent_size: tuple[int, int] | None = None,
        seed: int = 0,
    ) -> World:
        """A new world, without chunks; raises `InputError` if shapes do not fit the network.

        text: prompt embeddings `[1, L, text_dim]`, zero rows after the prompt's end.
        prompt: its words, if known; nothing depends on them.
        first_frame: normalised latent `[1, C, 1, h, w]`; None starts from text alone.
        latent_size: (h, w), needed without a first frame.
        """
        if first_frame is not None:
            first_frame = first_frame.clone()  # who changes the tensors given changes no world
            latent_size = latent_size or (first_frame.shape[-2], first_frame.shape[-1])
        if latent_size is None:
            raise InputError("A world without a first frame needs the size of its latents: pass latent_size=(h, w).")
        shape = (self.network.config.latent_channels, *latent_size)
        world = World(text.clone(), seed, shape, first_frame, (), prompt, self.network.fingerprint, self.vae)
        return self._fitted(world)

    def walk(
        self,
        world: World,
        path: WalkPath,
        chunks: int | None = 0,
        *,
        words: Mapping[int, Words] | None = None,
        on_progress: OnProgress | None = None,
        foresee: Foresee | None = None,
    ) -> Iterator[Chunk]:
        """The chunks along `path`, from where `world` stands; each has the world after it.

        path: tokens, a .json file or a `Trajectory`: its first pose falls on the world's last latent (in a new world it
            is the first latent's). Or each chunk's poses in world coordinates: a list, or an iterator, asked when
            needed.
        words: what it is told once it has so many chunks, until the next.
        chunks: 0 is as many as the path gives, with a warning of latents left over.
        on_progress: called before the first denoising step of a chunk and after each; may raise to stop.
        foresee: of an iterator's chunk, the one that will probably follow; its memory is then chosen while the device
            works. Not binding.

        Raises `InputError` at once for a world that does not fit (`fit.fitted`) or too short a path, later as `step`.
        """
        if chunks and chunks < 0:
            raise InputError(f"The number of chunks must be at least 0 (0 = as many as the path gives), got {chunks}.")
        world, chunks = self._fitted(world), chunks or 0
        notes: tuple[str, ...] = ()
        if isinstance(path, (str, Path)):
            path = Trajectory.load(str(path))
        elif isinstance(path, Trajectory):
            notes = path.notes  # its maker has seen them
        if isinstance(path, (list, tuple)):
            return self._chunks(world, _paired(path[: chunks or None], path[1:]), words, on_progress)
        if not isinstance(path, Trajectory):
            asked = islice(path, chunks or None)
            return self._chunks(world, ((part, foresee and foresee(part)) for part in asked), words, on_progress)
        n = self.recipe.chunk_latents
        onwards = world.onwards(path)
        walked = onwards.require_chunks(chunks, n, onwards=world.chunks > 0)
        for note in (onwards if chunks else walked).notes[len(notes) :]:
            warnings.warn(note, stacklevel=2)
        parts = walked.split(n)
        return self._chunks(world, _paired(parts, parts[1:]), words, on_progress)

    def _chunks(
        self,
        world: World,
        parts: Iterable[tuple[Trajectory, Trajectory | None]],
        words: Mapping[int, Words] | None,
        on_progress: OnProgress | None,
    ) -> Iterator[Chunk]:
        for cameras, next_cameras in parts:
            now = words_at(words, world.chunks)
            if now is not None and now.text is not world.text:
                world = self._fitted(world.told(now))
            chunk = self._step(world, cameras, None, next_cameras, on_progress)
            world = chunk.world
            yield chunk

    def replay(self, world: World, first: int = 0) -> Iterator[Chunk]:
        """The chunks of `world` from the one of index `first` on, decoded again: the same frames as when walked."""
        assert self.decoding is not None, "a walker without a decoder has no frames"
        world = self._fitted(world)
        for n, frames in enumerate(self.decoding.replay(world, first), start=first):
            yield Chunk(n, frames, world.at_chunk(n + 1))

    def step(
        self,
        world: World,
        cameras: Trajectory,
        *,
        noise: Tensor | None = None,
        following: Trajectory | None = None,
        on_progress: OnProgress | None = None,
    ) -> Chunk:
        """The next chunk of `world`.

        cameras: poses and labels of its latents, in world coordinates.
        noise: `[1, C, n, h, w]` instead of the seed's.
        following: poses of the chunk after it, if known: its memory is then chosen while the device works. Not binding.

        Raises `InputError` for a world, poses or noise that do not fit, and if the network returns NaN.
        """
        return self._step(self._fitted(world), cameras, noise, following, on_progress)

    @torch.no_grad()
    def _step(
        self,
        world: World,
        cameras: Trajectory,
        noise: Tensor | None,
        following: Trajectory | None,
        on_progress: OnProgress | None,
    ) -> Chunk:
        """See `step`; `world` is known to fit."""
        n = self.recipe.chunk_latents
        for poses in (cameras, following):
            if poses is not None and (not isinstance(poses, Trajectory) or len(poses) != n):
                given = len(poses) if isinstance(poses, Trajectory) else repr(poses)
                raise InputError(f"A chunk takes exactly {n} camera poses, as a Trajectory, got {given}.")
        C, h, w = world.latent_shape
        if noise is not None and tuple(noise.shape) != (1, C, n, h, w):
            raise InputError(f"The noise of a chunk must have the shape {[1, C, n, h, w]}, got {list(noise.shape)}.")
        report = on_progress or (lambda progress: None)

        viewmats = _followed_by(world.viewmats, cameras)
        remembered = self._remembered(viewmats, n)
        if self.decoding is not None:
            self.decoding.prepare(world)
        with current(self.device), fast_attention(self.device):
            # All that comes from the host is sent before the first forward: later it would wait for the device.
            memory, text_kv = self._memory(world), self._text_kv(world.text)
            context = self._context(world, cameras, remembered, text_kv, memory)
            control = self._control(cameras, cameras)
            memory.clear()
            if context is not None:
                self.network(context)
            if noise is None:  # drawn while the device is busy
                noise = chunk_noise(world.seed, world.chunks, (1, C, n, h, w))
            x = _sent(noise.float(), self.device)
            report(Progress(world.chunks, 0))
            # In the precision in which network and decoder read them, so that a world in a file is the same world.
            x = self._denoise(world, _inputs(x, control, text_kv, memory), report).to(self.dtype)
        latents = HandOver()
        latents.push(x)
        pictures, cache = (None, None) if self.decoding is None else self.decoding.decode(world, x)
        if following is not None:
            viewmats = _followed_by(viewmats, following)
            self._foreseen = (viewmats, self._remembered(viewmats, n))
        frames = None if pictures is None else pictures.collect()
        told = Words(world.text, world.prompt)
        step = Step(latents.collect(), replace(cameras, notes=()), remembered, told)
        if not step.latents.isfinite().all():
            raise InputError(
                "The network returned NaN or infinity: choose bfloat16 instead of float16, attention auto, or check "
                "weights and LoRAs."
            )
        if self.decoding is not None and cache is not None:
            self.decoding.caches.put(step, cache)
        if self.device.type == "cpu" and (world.chunks + 1) % self.give_back_every == 0:
            give_back()
        return Chunk(world.chunks, frames, world.and_then(step))

    def bytes_needed(self, latent_size: tuple[int, int]) -> tuple[int, int]:
        """Bytes on the device for latents of (h, w), beside weights and decoder: keys and values, activations."""
        memory, n = self.recipe.memory.frames, self.recipe.chunk_latents
        tokens = latent_size[0] * latent_size[1] // PATCH**2
        config = self.network.config
        kv = KVMemory.nbytes(
            config, frames=memory + n, tokens_per_frame=tokens, dtype=self.dtype, compact=self.compact_memory
        )
        return kv, WanDiT.activation_bytes(config, frames=memory, tokens_per_frame=tokens, dtype=self.dtype)

    def _fitted(self, world: World) -> World:
        return fitted(
            world, self.network.config, self.recipe.chunk_latents, network=self.network.fingerprint, vae=self.vae
        )

    def _remembered(self, viewmats: Tensor, n: int) -> tuple[int, ...]:
        """What the chunk of the last `n` cameras remembers."""
        if self._foreseen is not None and torch.equal(self._foreseen[0], viewmats):
            return self._foreseen[1]
        return select_memory_frames(viewmats, len(viewmats) - n, self._points, self.recipe.memory)

    def _context(
        self, world: World, cameras: Trajectory, remembered: tuple[int, ...], text_kv: TextKV, memory: KVMemory
    ) -> Inputs | None:
        """The prefill's inputs; None if nothing is remembered."""
        if not remembered:
            return None
        latents, told = world.remembered(remembered)
        latents = _sent(latents, self.device).to(self.dtype)
        return _inputs(latents, self._control(told, cameras), text_kv, memory, prefill=True)

    def _control(self, told: Trajectory, chunk: Trajectory) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Context timestep, cameras and labels of latents that the chunk attends to, batched, on the device.

        Cameras are relative to the chunk's first: attention stays the same, but far from the origin bfloat16 keys and
        values would lose their digits to the distance.
        """
        return (
            torch.full((1, len(told)), self.recipe.context_timestep, device=self.device),
            _sent(torch.from_numpy(told.viewmats @ chunk.c2w[0]).float().unsqueeze(0), self.device),
            _sent(torch.tensor(told.intrinsics, dtype=torch.float32).unsqueeze(0), self.device),
            _sent(torch.tensor(told.labels).unsqueeze(0), self.device),
        )

    def _text_kv(self, text: Tensor) -> TextKV:
        if self._text is None or self._text[0] is not text:
            self._text = (text, self.network.text_keys_values(text.to(self.device, self.dtype)))
        return self._text[1]

    def _memory(self, world: World) -> KVMemory:
        _, h, w = world.latent_shape
        tokens = h * w // PATCH**2
        if self._kv is None or self._kv.tokens_per_frame != tokens:
            self._kv = None  # freed before its successor is allocated
            self._kv = KVMemory(
                self.network.config,
                memory_frames=self.recipe.memory.frames,
                new_frames=self.recipe.chunk_latents,
                tokens_per_frame=tokens,
                device=self.device,
                dtype=self.dtype,
                compact=self.compact_memory,
            )
        return self._kv

    def _denoise(self, world: World, inputs: Inputs, report: OnProgress) -> Tensor:
        """Euler steps from noise to float32 latents; a first-frame latent is context, never updated."""
        x, held = inputs.latents, 0
        if not world.history and world.first_frame is not None:
            held = 1
            x = torch.cat((_sent(world.first_frame, self.device), x[:, :, held:]), dim=2)
        for step, t in enumerate(self.recipe.timesteps):
            timestep = torch.full_like(inputs.timestep, t)
            timestep[:, :held] = self.recipe.context_timestep
            flow = self.network(inputs._replace(latents=x.to(self.dtype), timestep=timestep))
            assert flow is not None
            moved = x[:, :, held:] + self.recipe.step_size(step) * flow[:, :, held:].float()
            x = torch.cat((x[:, :, :held], moved), dim=2)
            report(Progress(world.chunks, step + 1))
        return x


def _inputs(
    latents: Tensor,
    control: tuple[Tensor, Tensor, Tensor, Tensor],
    text_kv: TextKV,
    memory: KVMemory,
    *,
    prefill: bool = False,
) -> Inputs:
    timestep, viewmats, intrinsics, action = control
    return Inputs(latents, timestep, text_kv, memory, prefill, viewmats, intrinsics, action)


def _paired(
    parts: Sequence[Trajectory], following: Sequence[Trajectory]
) -> Iterator[tuple[Trajectory, Trajectory | None]]:
    """Each part with what follows it, if that is known."""
    return zip(parts, chain(following, [None]), strict=False)


def _followed_by(viewmats: Tensor, cameras: Trajectory) -> Tensor:
    return torch.cat((viewmats, torch.from_numpy(cameras.viewmats)))


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
