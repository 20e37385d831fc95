"""From a world's latents to frames: the streaming decoder, and the caches it goes on from."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from typing import NamedTuple

import torch
from torch import Tensor

from ..apart import apart
from ..fp8 import FP8
from ..gpu import current
from ..vae.stream import Past, StreamingDecoder, VAECache, to_uint8
from .colour import ColourMatch
from .handover import HandOver
from .world import Step, World


class Decoded(NamedTuple):
    """What `Decoding.decode` gives.

    pictures: on their way to the host.
    cache: of the decoder, after them.
    colours: what the pictures after them are matched to, `[2, 3]`; None: no colours are matched.
    """

    pictures: HandOver
    cache: VAECache
    colours: Tensor | None


Kept = tuple["weakref.ref[Step]", VAECache]
"""A cache, and the step after which a stream goes on from it."""


class DecoderCaches:
    """Decoder caches by the step they follow: the walk's newest on the device, the last `parked` others in host memory.

    A cache can take gigabytes and be made again. None outlives the last world that has its step.
    """

    def __init__(self, parked: int = 2) -> None:
        self._most = parked
        self._walked: Kept | None = None
        self._parked: list[Kept] = []

    def put(self, step: Step, cache: VAECache) -> None:
        """Keep the cache after `step`, from which the walk will go on; that of another walk is parked."""
        self.park()
        self._walked = self._kept(step, cache)

    def take(self, step: Step) -> VAECache | None:
        """The cache that was put last, if it is that after `step`; it is not kept any longer."""
        if self._walked is None or self._walked[0]() is not step:
            return None
        (_, cache), self._walked = self._walked, None
        return cache

    def park(self) -> None:
        """Move what lies on the device to host memory: nobody walks on for now."""
        if self._walked is not None:
            (step, cache), self._walked = self._walked, None
            if (alive := step()) is not None:
                self.park_copy(alive, cache)

    def park_copy(self, step: Step, cache: VAECache) -> None:
        """Keep a copy of the cache after `step` in host memory, as the last to go."""
        others = [kept for kept in self._parked if kept[0]() is not step]
        self._parked = [*others, self._kept(step, tuple(tensor.cpu() for tensor in cache))]
        del self._parked[: max(0, len(self._parked) - self._most)]

    def parked(self, step: Step) -> VAECache | None:
        """The cache after `step` in host memory, which stays there."""
        return next((cache for kept, cache in self._parked if kept() is step), None)

    def _kept(self, step: Step, cache: VAECache) -> Kept:
        # Through a weak reference: else this, the callback and the step's reference would keep each other alive.
        caches = weakref.ref(self)

        def forget(gone: weakref.ref[Step]) -> None:
            if (alive := caches()) is not None:
                alive._forget(gone)

        return weakref.ref(step, forget), cache

    def _forget(self, gone: weakref.ref[Step]) -> None:
        if self._walked is not None and self._walked[0] is gone:
            self._walked = None
        self._parked = [kept for kept in self._parked if kept[0] is not gone]


class Decoding:
    """Decodes the chunks of any worlds, each world as one stream.

    at_once: latents per call of the decoder; same frames. Default: 1 on a GPU, for the least memory; a chunk on a CPU,
        three times as fast.
    caches: default: its own.
    beside: on a device that has nothing else to do, so that a chunk can be decoded while the next is made.

    A walker sets `colour_match`, see `Recipe`.
    """

    def __init__(
        self,
        decoder: StreamingDecoder,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        at_once: int | None = None,
        caches: DecoderCaches | None = None,
        beside: bool = False,
    ) -> None:
        self.decoder = decoder
        self.device = torch.device(device)
        self.dtype = dtype
        self.at_once = at_once
        self.caches = caches or DecoderCaches()
        self.beside = beside
        self.colour_match = 0.0

    @torch.no_grad()
    def prepare(self, world: World) -> None:
        """Have the cache after `world` on the device: fetched from the host, or made again."""
        if not world.history:
            return
        step = world.history[-1]
        cache = self.caches.take(step)
        if cache is None:
            self.caches.park()
            cache = self.caches.parked(step)
            if cache is None:
                cache = self._made_again(world)
                self.caches.park_copy(step, cache)  # who comes here once may branch from here again
        self.caches.put(step, tuple(map(self._fetched, cache)))

    def decode(self, world: World, latents: Tensor) -> Decoded:
        """Pictures of the latents `[1, C, n, h, w]` that follow `world`.

        `world` must be prepared; its cache is used up.
        """
        past: Past | None = None
        match: ColourMatch | None = None
        if self.colour_match:
            match = ColourMatch(world.history[-1].colours if world.history else None, self.colour_match)
        if world.history:
            past = self.caches.take(world.history[-1])
            assert past is not None, "the world was not prepared"
            past = list(past)
        pictures = HandOver()
        with current(self.device):
            for part in self._parts(latents):
                frames, past = self.decoder.decode_stream(part, past)
                past = list(past)  # held by nobody else, so that the decoder may use it up
                pictures.push(to_uint8(frames if match is None else match(frames)))
        assert past is not None
        return Decoded(pictures, tuple(past), None if match is None else match.after)

    def replay(self, world: World, first: int = 0) -> Iterator[Tensor]:
        """Frames of the chunks of `world` from the one of index `first` on: uint8 `[F, H, W, 3]` in host memory."""
        for n in range(first, world.chunks):
            yield self._frames_of(world.at_chunk(n), world.history[n])

    def apart(self, world: World, step: Step) -> Future[Tensor]:
        """Frames of `step`, which follows `world`, as `replay` gives them; decoded on a thread, one at a time."""
        inference = torch.is_inference_mode_enabled()  # of this thread

        def decode() -> Tensor:
            with torch.inference_mode(inference):
                return self._frames_of(world, step)

        return apart(decode)

    def _frames_of(self, world: World, step: Step) -> Tensor:
        self.prepare(world)
        decoded = self.decode(world, step.latents)
        frames = decoded.pictures.collect()
        self.caches.put(step, decoded.cache)
        return frames

    def _made_again(self, world: World) -> VAECache:
        past: Past | None = None
        # What lies further back than the decoder reaches leaves no trace in the cache.
        steps = math.ceil(self.decoder.reach / world.history[-1].latents.shape[2])
        with current(self.device):
            for step in world.history[-steps:]:
                for part in self._parts(step.latents):
                    _, past = self.decoder.decode_stream(part, past)
                    past = list(past)
        assert past is not None
        return tuple(past)

    def _fetched(self, kept: Tensor) -> Tensor:
        """In the decoder's precision, but for fp8; `kept` may be what stands for other processes' tensors."""
        if isinstance(kept, Tensor) and kept.dtype == FP8:
            return kept.to(self.device)
        return kept.to(self.device, self.dtype)

    def _parts(self, latents: Tensor) -> tuple[Tensor, ...]:
        at_once = self.at_once or (latents.shape[2] if self.device.type == "cpu" else 1)
        return latents.to(self.device, self.dtype).split(at_once, dim=2)
