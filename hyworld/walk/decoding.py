"""From a world's latents to frames: the streaming decoder, and the caches it goes on from."""

from __future__ import annotations

import math
import weakref
from typing import Any

import torch
from torch import Tensor

from ..gpu import current
from ..vae.stream import StreamingDecoder, VAECache, to_uint8
from .handover import HandOver
from .world import Step, World

Kept = tuple["weakref.ref[Step]", VAECache]
"""A cache, and the step after which a stream goes on from it."""


class DecoderCaches:
    """The decoder caches of some worlds: of the one walked last on the device, of a few others in host memory.

    A cache can take gigabytes and be made again, so it lives no longer than the world it belongs to, and of those
    that are not being walked only the last `parked` are kept.
    """

    def __init__(self, parked: int = 2) -> None:
        self._most = parked
        self._walked: Kept | None = None
        self._parked: list[Kept] = []

    def take(self, step: Step) -> list[Any] | None:
        """The cache after `step`, None if it is not kept. The caller may use it up, see `vae.stream.Past`."""
        if self._walked is not None and self._walked[0]() is step:
            (_, cache), self._walked = self._walked, None
            return list(cache)
        found = next((kept for kept in self._parked if kept[0]() is step), None)
        self.park()
        if found is None:
            return None
        self._parked = [*(kept for kept in self._parked if kept is not found), found][-self._most :]
        return list(found[1])

    def put(self, step: Step, cache: VAECache) -> None:
        """Keep the cache after `step`, the newest of the world being walked."""
        self._walked = (weakref.ref(step, self._forget), cache)

    def park(self) -> None:
        """Move what lies on the device to host memory: nobody walks on for now."""
        if self._walked is not None:
            reference, cache = self._walked
            self._parked.append((reference, tuple(tensor.cpu() for tensor in cache)))
            self._walked = None
        del self._parked[: -self._most]

    def _forget(self, gone: weakref.ref[Step]) -> None:
        if self._walked is not None and self._walked[0] is gone:
            self._walked = None
        self._parked = [kept for kept in self._parked if kept[0] is not gone]


class Decoding:
    """Decodes the chunks of any worlds, each as one stream.

    Args:
        decoder: the full or the tiny one, on `device`.
        device, dtype: where and in what precision it runs.
        at_once: latents the decoder is fed per call; the frames are the same. Default: 1 on a GPU, which needs the
            least memory, and all of a chunk on a CPU, where it is three times as fast.
        caches: where to find and leave the caches of worlds; default: its own.
    """

    def __init__(
        self,
        decoder: StreamingDecoder,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        at_once: int | None = None,
        caches: DecoderCaches | None = None,
    ) -> None:
        self.decoder = decoder
        self.device = torch.device(device)
        self.dtype = dtype
        self.at_once = at_once
        self.caches = caches or DecoderCaches()

    def decode(self, world: World, latents: Tensor) -> tuple[HandOver, VAECache]:
        """Pictures of the latents `[1, C, n, h, w]` that follow `world`, on their way to the host; the cache after."""
        pictures = HandOver()
        with current(self.device):
            past = self._past(world)
            for part in self._parts(latents):
                frames, cache = self.decoder.decode_stream(part, past)
                pictures.push(to_uint8(frames))
                past = list(cache)  # nobody else holds it, so the decoder may use it up
        return pictures, cache

    def _past(self, world: World) -> list[Any] | None:
        """The cache to go on from after `world`, which may be used up: kept, or made again."""
        if not world.history:
            return None
        kept = self.caches.take(world.history[-1])
        if kept is not None:
            return [tensor.to(self.device, self.dtype) for tensor in kept]
        past: list[Any] | None = None
        # What lies further back than the decoder reaches leaves no trace in the cache.
        steps = math.ceil(self.decoder.reach / world.history[-1].latents.shape[2])
        for step in world.history[-steps:]:
            for part in self._parts(step.latents):
                past = list(self.decoder.decode_stream(part, past)[1])
        return past

    def _parts(self, latents: Tensor) -> tuple[Tensor, ...]:
        at_once = self.at_once or (latents.shape[2] if self.device.type == "cpu" else 1)
        return latents.to(self.device, self.dtype).split(at_once, dim=2)
