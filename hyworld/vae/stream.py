"""Streaming: what a causal video network keeps between calls, and the face both decoders share.

A causal network fed a few frames at a time equals the same network fed everything at once, if every layer
that looks back in time finds the last frames of its own input before the new ones. Those frames, one tensor
per such layer in the order in which the layers run, are the cache. It is a value: every call returns a new one
and changes none, so a rollout can go on from any cache it ever held.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import InputError
from .kernels import PLAIN, Kernels

VAECache = tuple[Tensor, ...]
"""The last input frames of every layer that looks back; shapes are the same after every call of a stream."""

Past = VAECache | list[Any]
"""What a call goes on from. A list is used up: each tensor leaves it once its layer has run, so that the old frames and
the new ones need not all be in memory together."""


class StreamingDecoder(Protocol):
    """A decoder that can be fed a stream of latents: `WanVAE`, `TinyDecoder`."""

    @property
    def latent_channels(self) -> int:
        """Channels C of the latents."""

    @property
    def reach(self) -> int:
        """How many latents back its frames and its cache depend on; what lies further leaves no trace."""

    def decode_stream(self, latents: Tensor, cache: Past | None = None) -> tuple[Tensor, VAECache]:
        """Decode normalised latents `[B, C, n, h, w]` into frames `[B, 3, f, 16h, 16w]` in about [-1, 1].

        Without a cache the stream begins: its first latent gives 1 frame, every other latent 4.
        """


def decode_whole(decoder: StreamingDecoder, latents: Tensor) -> Tensor:
    """Decode a whole sequence `[B, C, n, h, w]`, one latent at a time so that memory stays flat.

    Raises:
        InputError: latents of another shape.
    """
    check_latents(latents, decoder.latent_channels)
    cache: Past | None = None
    frames = []
    for latent in latents.split(1, dim=2):
        decoded, kept = decoder.decode_stream(latent, cache)
        cache = list(kept)
        frames.append(decoded)
    return torch.cat(frames, dim=2)


class StreamStep:
    """One call's way through a causal network: hands each layer its past and keeps what the next call needs.

    Attributes:
        begins: True if nothing came before (the call was given no cache).
        kernels: the functions that the layers run between their convolutions.
    """

    def __init__(self, cache: Past | None, kernels: Kernels = PLAIN) -> None:
        self.begins = cache is None
        self.kernels = kernels
        self._past: list[Any] = cache if isinstance(cache, list) else list(cache or ())
        self._kept: list[Tensor] = []

    def extend(self, x: Tensor, frames: int, *, axis: int = 2) -> Tensor:
        """Return `x` preceded along `axis` by the last `frames` frames this layer saw, zeros where the stream begins.

        Raises:
            InputError: the cache comes from another network or another picture size.
        """
        extended = torch.cat((self.past(x, frames, axis=axis), x), dim=axis)
        self.keep(extended, frames, axis=axis)
        return extended

    def keep(self, x: Tensor, frames: int, *, axis: int = 2) -> None:
        """Keep the last `frames` frames of `x` for the layer at this place in the next call."""
        if self._past:
            self._past[len(self._kept)] = None
        # A view would keep the whole activation alive for as long as the cache is held.
        self._kept.append(x.narrow(axis, x.shape[axis] - frames, frames).clone())

    def cache(self) -> VAECache:
        """What the next call needs, once every layer has run."""
        return tuple(self._kept)

    def past(self, x: Tensor, frames: int, *, axis: int = 2) -> Tensor:
        """The last `frames` frames this layer saw, zeros where the stream begins; `x` is what it sees now.

        Raises:
            InputError: the cache comes from another network or another picture size.
        """
        if self.begins:
            # Made like x, not from its shape alone: one channels-first tensor among the rest would spread.
            return torch.cat([torch.zeros_like(x.narrow(axis, 0, 1))] * frames, dim=axis)
        expected = [*x.shape[:axis], frames, *x.shape[axis + 1 :]]
        found = self._past[len(self._kept)] if len(self._kept) < len(self._past) else None
        if found is None or list(found.shape) != expected:
            raise InputError(
                f"The cache does not belong to this stream (layer {len(self._kept)} needs {expected}, "
                f"found {None if found is None else list(found.shape)}): go on with the cache that the previous call "
                "of the same decoder returned, at the same picture size, or begin a new stream without one."
            )
        return found


def check_latents(latents: Tensor, channels: int) -> None:
    """Raise `InputError` unless `latents` is `[B, channels, n >= 1, h, w]`."""
    if latents.ndim != 5 or latents.shape[1] != channels or latents.shape[2] == 0:
        raise InputError(
            f"The latents must have the shape [batch, {channels}, time, height, width], got {list(latents.shape)}: "
            "decode them with the VAE they were made for."
        )


def to_uint8(frames: Tensor) -> Tensor:
    """Convert frames `[1, 3, f, H, W]` in [-1, 1] (values outside are clamped) to pictures uint8 `[f, H, W, 3]`."""
    if frames.ndim != 5 or frames.shape[:2] != (1, 3):
        raise ValueError(f"Frames must have the shape [1, 3, f, H, W], got {list(frames.shape)}.")
    levels = frames[0].float().mul(127.5).add_(127.5).round_().clamp_(0, 255)
    return levels.to(torch.uint8).permute(1, 2, 3, 0).contiguous()
