"""Streaming: the cache that a causal video network keeps between calls, and the interface of both decoders.

The cache is the last input frames of every layer that looks back in time, in the order in which the layers run. With
it, a network fed a few frames at a time equals one fed everything at once. A call changes no cache tuple but returns a
new one, so a walk can go on from any it held.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ..copying import duplicate
from ..errors import InputError
from ..fp8 import FP8
from .kernels import PLAIN, Kernels

VAECache = tuple[Tensor, ...]
"""Last input frames of every layer that looks back; shapes are the same after every call of a stream."""

Past = VAECache | list[Any]
"""The cache a call starts from. A list is used up: tensors leave it once their layer has run, to save memory."""


class StreamingDecoder(Protocol):
    """A decoder that can be fed a stream of latents: `Wan21VAE`, `Wan22VAE`, `TinyDecoder`."""

    @property
    def latent_channels(self) -> int:
        """Latent channels C."""

    @property
    def spatial_stride(self) -> int:
        """Pixels per latent cell along height and width: 16, or 8 for Wan 2.1."""

    @property
    def reach(self) -> int:
        """How many latents back its frames and its cache depend on."""

    def decode_stream(self, latents: Tensor, cache: Past | None = None) -> tuple[Tensor, VAECache]:
        """Decode normalised latents `[B, C, n, h, w]` into frames `[B, 3, f, H, W]` in about [-1, 1].

        A latent gives 4 frames, the first of a stream (no cache) 1.
        """


def decode_whole(decoder: StreamingDecoder, latents: Tensor) -> Tensor:
    """Decode `[B, C, n, h, w]` one latent at a time so that memory stays flat; raises `InputError` for other shapes."""
    check_latents(latents, decoder.latent_channels)
    cache: Past | None = None
    frames = []
    for latent in latents.split(1, dim=2):
        decoded, cache = decoder.decode_stream(latent, cache)
        cache = list(cache)  # held by nobody else, so that the decoder may use it up
        frames.append(decoded)
    return torch.cat(frames, dim=2)


class StreamStep:
    """One call of a causal network: hands each layer its past and collects the next cache.

    begins: no cache was given.
    kernels: the functions that the layers run between their convolutions.
    """

    def __init__(self, cache: Past | None, kernels: Kernels = PLAIN) -> None:
        self.begins = cache is None
        self.kernels = kernels
        self._past: list[Any] = cache if isinstance(cache, list) else list(cache or ())
        self._kept: list[Tensor] = []

    def extend(self, x: Tensor, frames: int, *, axis: int = 2) -> Tensor:
        """`x` preceded along `axis` by the last `frames` frames this layer saw; raises as `past`."""
        extended = torch.cat((self.past(x, frames, axis=axis), x), dim=axis)
        self.keep(extended, frames, axis=axis)
        return extended

    def keep(self, x: Tensor, frames: int, *, axis: int = 2) -> None:
        """Keep the last `frames` frames of `x` for this layer's next call."""
        if self._past:
            self._past[len(self._kept)] = None
        # A view would keep the whole activation alive for as long as the cache is held.
        self._kept.append(duplicate(x.narrow(axis, x.shape[axis] - frames, frames)))

    def cache(self) -> VAECache:
        """The next call's cache, once every layer has run."""
        return tuple(self._kept)

    def past(self, x: Tensor, frames: int, *, axis: int = 2, dtype: torch.dtype | None = None) -> Tensor:
        """The last `frames` frames this layer saw, zeros where the stream begins; `x` is its current input.

        dtype: of these frames, where they are kept in another one than `x`.

        Raises `InputError` if the cache is of another network or picture size.
        """
        if self.begins:
            # Made like x to have its memory format: one channels-first tensor would spread.
            return torch.cat([torch.zeros_like(x.narrow(axis, 0, 1), dtype=dtype)] * frames, dim=axis)
        expected = _described([*x.shape[:axis], frames, *x.shape[axis + 1 :]], dtype)
        found = self._past[len(self._kept)] if len(self._kept) < len(self._past) else None
        at_hand = None if found is None else _described(found.shape, found.dtype)
        if found is None or at_hand != expected:
            raise InputError(
                f"The cache does not belong to this stream (layer {len(self._kept)} needs {expected}, "
                f"found {at_hand}): go on with the cache that the previous call "
                "of the same decoder returned, at the same picture size, or begin a new stream without one."
            )
        return found


def _described(shape: Sequence[int], dtype: torch.dtype | None) -> str:
    return f"{list(shape)}{' in fp8' if dtype == FP8 else ''}"


def check_latents(latents: Tensor, channels: int) -> None:
    """Raise `InputError` unless `latents` is `[B, channels, n >= 1, h, w]`."""
    if latents.ndim != 5 or latents.shape[1] != channels or latents.shape[2] == 0:
        raise InputError(
            f"The latents must have the shape [batch, {channels}, time, height, width], got {list(latents.shape)}: "
            "decode them with the VAE they were made for."
        )


def to_uint8(frames: Tensor) -> Tensor:
    """Frames `[1, 3, f, H, W]` in [-1, 1] (clamped) as uint8 `[f, H, W, 3]`; raises `ValueError` for another shape."""
    if frames.ndim != 5 or frames.shape[:2] != (1, 3):
        raise ValueError(f"Frames must have the shape [1, 3, f, H, W], got {list(frames.shape)}.")
    levels = frames[0].float().mul(127.5).add_(127.5).round_().clamp_(0, 255)
    return levels.to(torch.uint8).permute(1, 2, 3, 0).contiguous()
