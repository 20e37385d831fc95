"""The loop: see the past, denoise, decode, a chunk of latents at a time. What the steps do, a recipe's rules say.

| rule | module |
| --- | --- |
| how the past is seen | `reconstituted`, `rolling` |
| what else a forward is given | `conditioning` |
| which networks are asked, and how their flows become one | `networks` |
| how a step goes on from the flow | `samplers` |
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..camera import Trajectory
from ..camera.units import other_pace
from ..config import PATCH, DiTConfig
from ..errors import InputError
from ..fingerprint import Fingerprint
from ..gpu import current
from ..heap import give_back
from .cache import Cache
from .conditioning import Conditioning, Given
from .decoding import Decoding
from .fit import check_recipe, fitted, standing_still
from .handover import HandOver, sent
from .networks import Branch, Network, Networks
from .recipe import WORLDPLAY, Recipe, Rolling, chunk_noise
from .reconstituted import Reconstituted
from .rolling import RollingCache
from .samplers import Draw, sampler
from .world import Chunk, Step, Words, World, words_at

WalkPath = str | Path | Trajectory | Iterable[Trajectory]
"""Where to walk: tokens or a pose file, a trajectory, or one trajectory for each chunk (a list or an iterator)."""


NO_CAMERA = "This model follows no camera: leave the path out, and say how many chunks to walk."


class Progress(NamedTuple):
    """`step` denoising steps of chunk `chunk` are done."""

    chunk: int
    step: int


OnProgress = Callable[[Progress], None]

Foresee = Callable[[Trajectory], Trajectory]
"""A chunk's poses → those of the chunk that will probably follow."""


class Walker:
    """Walks in any world; keeps no world, only buffers.

    network: already on `device`.
    second: the other network of a recipe with a boundary, for the timesteps below it.
    recipe: what the checkpoint fixes of the loop.
    decoding: latents → frames; None leaves `Chunk.frames` empty.
    dtype: of the network. Running latents, cameras and noise stay in float32.
    vae: fingerprint of the VAE whose latents these are.
    compact_memory: half the memory for keys and values, some more time; see `KVMemory`. Not of a rolling memory.
    fp8_memory: keys and values in fp8, for networks that attend in fp8.
    points: the cloud `[n, 3]` that measures the overlap of views; default: a fixed one.
    give_back_every: chunks on a CPU after which freed memory goes back to the system, see `heap`.
    verify: called before a chunk is given out; raises if what it was made with is not to be trusted any more.

    Raises `InputError` for networks that are not for the recipe.
    """

    give_back_every = 1

    def __init__(
        self,
        network: Network,
        *,
        recipe: Recipe = WORLDPLAY,
        second: Network | None = None,
        decoding: Decoding | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        vae: Fingerprint = (),
        compact_memory: bool = False,
        fp8_memory: bool = False,
        points: Tensor | None = None,
    ) -> None:
        check_recipe(
            recipe,
            network.config,
            None if second is None else second.config,
            None if decoding is None else decoding.decoder.spatial_stride,
        )
        self.recipe = recipe
        self.decoding = decoding
        if decoding is not None:
            decoding.colour_match = recipe.colour_match
        self.device = torch.device(device)
        self.dtype = dtype
        self.vae = vae
        self.compact_memory = compact_memory
        self.fp8_memory = fp8_memory
        self._networks = Networks([network] if second is None else [network, second], recipe, self.device, dtype)
        self._conditioning = Conditioning(network.config, recipe, self.device, dtype)
        self._points = points
        self.verify: Callable[[], None] = lambda: None
        self._cache = self._cache_rule(network.config)

    def share(self, ranks: int) -> None:
        """Keep the keys and values of `1 / ranks` of the heads: other processes keep the others, see `parallel`."""
        config = self.network.config
        self._cache = self._cache_rule(replace(config, num_heads=config.num_heads // ranks))

    @property
    def network(self) -> Network:
        """The network, the first if there are two; may be replaced by one that does the same, such as a timed one."""
        return self._networks.networks[0]

    @network.setter
    def network(self, network: Network) -> None:
        self._networks.networks[0] = network

    @property
    def second(self) -> Network | None:
        """The network below the boundary, if there are two."""
        return self._networks.networks[1] if len(self._networks.networks) > 1 else None

    @second.setter
    def second(self, network: Network) -> None:
        self._networks.networks[1] = network

    def _cache_rule(self, config: DiTConfig) -> Cache:
        """config: of the keys and values."""
        memory = self.recipe.memory
        if isinstance(memory, Rolling):
            return RollingCache(
                config,
                self.recipe,
                memory,
                self._conditioning,
                self._networks,
                device=self.device,
                dtype=self.dtype,
                fp8=self.fp8_memory,
            )
        return Reconstituted(
            config,
            self.recipe,
            memory,
            self._conditioning,
            device=self.device,
            dtype=self.dtype,
            compact=self.compact_memory,
            fp8=self.fp8_memory,
            points=self._points,
        )

    def begin(
        self,
        text: Tensor,
        *,
        prompt: str = "",
        first_frame: Tensor | None = None,
        latent_size: tuple[int, int] | None = None,
        seed: int = 0,
        negative: Words | None = None,
        clip: Tensor | None = None,
    ) -> World:
        """A new world, without chunks; raises `InputError` if shapes do not fit the network.

        text: prompt embeddings `[1, L, text_dim]`, zero rows after the prompt's end.
        prompt: its words, if known; nothing depends on them.
        first_frame: normalised latent `[1, C, 1, h, w]`; None starts from text alone. For a recipe with the picture in
            channels, all latents of the first chunk: those of a video of the picture and black frames.
        latent_size: (h, w), needed without a first frame.
        negative: prompt that guidance leads away from; needed if the recipe is guided.
        clip: CLIP tokens `[1, K, clip_dim]` of the picture, for networks that read them.
        """
        if first_frame is not None:
            first_frame = first_frame.clone()  # who changes the tensors given changes no world
            latent_size = latent_size or (first_frame.shape[-2], first_frame.shape[-1])
        if latent_size is None:
            raise InputError("A world without a first frame needs the size of its latents: pass latent_size=(h, w).")
        shape = (self.network.config.latent_channels, *latent_size)
        world = World(
            text.clone(),
            seed,
            shape,
            first_frame,
            (),
            prompt,
            self._networks.fingerprint,
            self.vae,
            negative,
            None if clip is None else clip.clone(),
            self.recipe.spatial_stride,
        )
        return self._fitted(world)

    def walk(
        self,
        world: World,
        path: WalkPath | None = None,
        chunks: int | None = 0,
        *,
        words: Mapping[int, Words] | None = None,
        on_progress: OnProgress | None = None,
        foresee: Foresee | None = None,
    ) -> Iterator[Chunk]:
        """The chunks along `path`, from where `world` stands; each has the world after it.

        path: tokens, a .json file or a `Trajectory`: its first pose falls on the world's last latent (in a new world it
            is the first latent's). Or each chunk's poses in world coordinates: a list, or an iterator, asked when
            needed. None for a network without cameras: it is the number of chunks that says how far.
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
        if not self.network.config.cameras:
            if path is not None:
                raise InputError(NO_CAMERA)
            if not chunks:
                raise InputError("A walk of a model without cameras needs its length: give the number of chunks.")
            still = standing_still(self.recipe.chunk_latents)
            return self._planned(world, ((still, None) for _ in range(chunks)), words, on_progress)
        if path is None:
            raise InputError("This model follows a camera path: give one, such as w-15.")
        notes: tuple[str, ...] = ()
        if isinstance(path, (str, Path)):
            path = Trajectory.load(str(path), self.recipe.speeds)
        elif isinstance(path, Trajectory):
            notes = path.notes  # its maker has seen them
        if isinstance(path, (list, tuple)):
            return self._planned(world, _paired(path[: chunks or None], path[1:]), words, on_progress)
        if not isinstance(path, Trajectory):
            asked = islice(path, chunks or None)
            return self._chunks(world, ((part, foresee and foresee(part)) for part in asked), words, on_progress)
        n = self.recipe.chunk_latents
        onwards = world.onwards(path)
        walked = onwards.require_chunks(chunks, n, onwards=world.chunks > 0)
        other = other_pace(walked.c2w, self.recipe.speeds)
        for note in (*(onwards if chunks else walked).notes[len(notes) :], *filter(None, [other])):
            warnings.warn(note, stacklevel=2)
        parts = walked.split(n)
        return self._planned(world, _paired(parts, parts[1:]), words, on_progress)

    def _planned(
        self,
        world: World,
        parts: Iterable[tuple[Trajectory, Trajectory | None]],
        words: Mapping[int, Words] | None,
        on_progress: OnProgress | None,
    ) -> Iterator[Chunk]:
        """The chunks of a path that nobody chooses on the way: where that can be, each is decoded beside the next."""
        decoding = self.decoding
        # Colours are matched to those of the chunk before, which the world holds.
        if decoding is None or not decoding.beside or decoding.colour_match:
            return self._chunks(world, parts, words, on_progress)
        return self._decoded_beside(decoding, world, parts, words, on_progress)

    def _decoded_beside(
        self,
        decoding: Decoding,
        world: World,
        parts: Iterable[tuple[Trajectory, Trajectory | None]],
        words: Mapping[int, Words] | None,
        on_progress: OnProgress | None,
    ) -> Iterator[Chunk]:
        chunk: Chunk | None = None
        frames: Future[Tensor] | None = None

        def report(progress: Progress) -> None:
            if frames is not None and frames.done():
                frames.result()  # raises what the decoder met
            if on_progress is not None:
                on_progress(progress)

        made = self._chunks(world, parts, words, report, decode=False)
        while True:
            after, failed = None, None
            try:
                after = next(made, None)
            except BaseException as error:  # what was made before is given out first
                failed = error
            if chunk is not None and frames is not None:
                decoded = frames.result()
                self.verify()
                yield replace(chunk, frames=decoded)
            if failed is not None:
                raise failed
            if after is None:
                return
            before = world if chunk is None else chunk.world
            chunk, frames = after, decoding.apart(before, after.world.history[-1])

    def _chunks(
        self,
        world: World,
        parts: Iterable[tuple[Trajectory, Trajectory | None]],
        words: Mapping[int, Words] | None,
        on_progress: OnProgress | None,
        *,
        decode: bool = True,
    ) -> Iterator[Chunk]:
        for cameras, next_cameras in parts:
            now = words_at(words, world.chunks)
            if now is not None and now.text is not world.text:
                world = self._fitted(world.told(now))
            chunk = self._step(world, cameras, None, next_cameras, on_progress, decode=decode)
            world = chunk.world
            yield chunk

    def replay(self, world: World, first: int = 0) -> Iterator[Chunk]:
        """The chunks of `world` from the one of index `first` on, decoded again: the same frames as when walked."""
        assert self.decoding is not None, "a walker without a decoder has no frames"
        world = self._fitted(world)
        for n, frames in enumerate(self.decoding.replay(world, first), start=first):
            self.verify()
            yield Chunk(n, frames, world.at_chunk(n + 1))

    def step(
        self,
        world: World,
        cameras: Trajectory | None = None,
        *,
        noise: Tensor | None = None,
        following: Trajectory | None = None,
        on_progress: OnProgress | None = None,
    ) -> Chunk:
        """The next chunk of `world`.

        cameras: poses and labels of its latents, in world coordinates; None for a network without cameras.
        noise: `[1, C, n, h, w]` instead of the seed's, or all draws, `[Recipe.draws, 1, C, n, h, w]`.
        following: poses of the chunk after it, if known: its memory is then chosen while the device works. Not binding.

        Raises `InputError` for a world, poses or noise that do not fit, and if the network returns NaN.
        """
        world = self._fitted(world)
        if not self.network.config.cameras:
            if cameras is not None or following is not None:
                raise InputError(NO_CAMERA)
            cameras = standing_still(self.recipe.chunk_latents)
        return self._step(world, cameras, noise, following, on_progress)

    @torch.no_grad()
    def _step(
        self,
        world: World,
        cameras: Trajectory | None,
        noise: Tensor | None,
        following: Trajectory | None,
        on_progress: OnProgress | None,
        *,
        decode: bool = True,
    ) -> Chunk:
        """See `step`; `world` is known to fit."""
        decoding = self.decoding if decode else None
        n = self.recipe.chunk_latents
        for poses in (cameras,) if following is None else (cameras, following):
            if not isinstance(poses, Trajectory) or len(poses) != n:
                got = len(poses) if isinstance(poses, Trajectory) else repr(poses)
                raise InputError(f"A chunk takes exactly {n} camera poses, as a Trajectory, got {got}.")
        assert cameras is not None
        draw = self._draws(world, noise)
        report = on_progress or (lambda progress: None)

        if decoding is not None:
            decoding.prepare(world)
        with current(self.device), fast_attention(self.device):
            # All that comes from the host is sent before the first forward: later it would wait for the device.
            branches = self._networks.told(world.text, world.negative, world.clip)
            given = self._conditioning.given(world, world.chunks, cameras)
            remembered, branches = self._cache.begin(
                world, cameras, branches, lambda: report(Progress(world.chunks, 0))
            )
            x = draw(0)  # while the device is busy
            report(Progress(world.chunks, 0))
            x = self._denoise(x, given, branches, draw, lambda step: report(Progress(world.chunks, step)))
            # In the precision in which network and decoder read them, so that a world in a file is the same world.
            x = x.to(self.dtype)
        latents = HandOver()
        latents.push(x)
        decoded = None if decoding is None else decoding.decode(world, x)
        if following is not None:
            self._cache.foresee(world, cameras, following)
        frames = None if decoded is None else decoded.pictures.collect()
        colours = None if decoded is None or decoded.colours is None else decoded.colours.cpu()
        self.verify()
        told = Words(world.text, world.prompt)
        step = Step(latents.collect(), cameras.bare(), remembered, told, colours)
        if not step.latents.isfinite().all():
            raise InputError(
                "The network returned NaN or infinity: choose bfloat16 instead of float16, attention auto, or check "
                "weights and LoRAs."
            )
        if decoding is not None and decoded is not None:
            decoding.caches.put(step, decoded.cache)
        if noise is not None and noise.ndim == 6:
            self._cache.noise_given(step, noise[-1])
        if self.device.type == "cpu" and (world.chunks + 1) % self.give_back_every == 0:
            give_back()
        return Chunk(world.chunks, frames, world.and_then(step))

    def _denoise(
        self, x: Tensor, given: Given, branches: Sequence[Branch], draw: Draw, report: Callable[[int], None]
    ) -> Tensor:
        """From noise to float32 latents; a picture's latents are never updated."""
        steps = sampler(self.recipe, draw)
        x = given.stamped(x)
        if given.is_whole(x):
            report(self.recipe.steps)
            return x
        for step, timestep in enumerate(self.recipe.timesteps):
            flow = self._networks.flow(branches, given.inputs(x, timestep), timestep)
            x = given.stamped(steps.advance(x, flow, step))
            report(step + 1)
        return x

    def _draws(self, world: World, noise: Tensor | None) -> Draw:
        """The chunk's noise on the device, given or of the seed; raises `InputError` for noise that does not fit."""
        shape = (1, world.latent_shape[0], self.recipe.chunk_latents, *world.latent_shape[1:])
        if noise is None:
            given: Sequence[Tensor] = ()
        elif tuple(noise.shape) == shape:
            given = [noise]
        elif tuple(noise.shape) == (self.recipe.draws, *shape):
            given = noise.unbind()
        else:
            raise InputError(
                f"The noise of a chunk must have the shape {list(shape)} or, with all its draws, "
                f"{[self.recipe.draws, *shape]}, got {list(noise.shape)}."
            )

        def draw(k: int) -> Tensor:
            drawn = given[k] if k < len(given) else chunk_noise(world.seed, world.chunks, shape, k)
            return sent(drawn.float(), self.device)

        return draw

    def bytes_needed(self, latent_size: tuple[int, int]) -> tuple[int, int]:
        """Bytes on the device for latents of (h, w), beside weights and decoder: keys and values, activations."""
        return self._cache.bytes_needed(latent_size[0] * latent_size[1] // PATCH**2)

    def _fitted(self, world: World) -> World:
        return fitted(world, self.network.config, self.recipe, network=self._networks.fingerprint, vae=self.vae)


def _paired(
    parts: Sequence[Trajectory], following: Sequence[Trajectory]
) -> Iterator[tuple[Trajectory, Trajectory | None]]:
    """Each part with what follows it, if that is known."""
    return zip(parts, chain(following, [None]), strict=False)


def fast_attention(device: torch.device) -> AbstractContextManager[None]:
    """Prefer cuDNN's attention, the fastest exact one on recent NVIDIA cards; the others stay as fall-backs."""
    if device.type != "cuda":
        return nullcontext()
    order = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    return sdpa_kernel(order, set_priority=True)
