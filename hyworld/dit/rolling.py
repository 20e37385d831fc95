"""The memory of streaming Wan models: a window that rolls over the latents made last, and a sink of the first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..config import DiTConfig
from ..errors import InputError
from .buffers import KVBuffers

BYTES = torch.int64.itemsize


class RollingMemory(KVBuffers):
    """Keys and values of one walk: of a world, a network (not WorldPlay's) and a branch of guidance.

    A chunk is `begin`, any number of forwards and `commit`. Every forward writes its keys and values into the chunk's
    slots, over those of the forward before, and attends to all there is, itself included. What later chunks see is what
    the last forward before `commit` wrote: usually one over the clean latents, whose flow nobody reads.

    window, sink, chunk: in latents. It holds at most the `window` made last and, before them, the `sink` made first.
    tokens_per_frame: S.
    rotated: keys stay rotated by the temporal position at which they were made, which grows for ever. Otherwise they
        are kept as projected, and every forward rotates them by where they lie, from 0 on ("rerope").
    fp8: for a network that attends in fp8.

    Raises `InputError` if a chunk does not fit into the window.
    """

    def __init__(
        self,
        config: DiTConfig,
        *,
        window: int,
        sink: int,
        chunk: int,
        tokens_per_frame: int,
        rotated: bool = True,
        batch: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        fp8: bool = False,
    ) -> None:
        assert not config.is_worldplay, "WorldPlay has a KVMemory"
        if sink < 0 or not 1 <= chunk <= window:
            raise InputError(
                f"A rolling memory needs a window of at least one chunk and a sink of 0 or more latents, got a chunk "
                f"of {chunk}, a window of {window} and a sink of {sink}."
            )
        super().__init__(
            config,
            capacity_frames=sink + window,
            tokens_per_frame=tokens_per_frame,
            batch=batch,
            device=device,
            dtype=dtype,
            compact=not rotated,
            fp8=fp8,
        )
        self.sink = sink
        self.chunk = chunk
        self.rotated = rotated
        self._coming = chunk
        self.made = 0
        """Latents committed so far, dropped ones included."""
        self.dropped = 0

    def begin(self, chunk: int | None = None) -> None:
        """A chunk begins, of `chunk` latents if not of the usual number: make room by dropping the oldest ones."""
        self._coming = self.chunk if chunk is None else chunk
        assert self._coming <= self.capacity_frames - self.sink, "a chunk fits into the window"
        overflow = self.frames + self._coming - self.capacity_frames
        if overflow > 0:
            self._drop(overflow)

    def follow(self, frames: int, made: int, dropped: int) -> None:
        """Have the state of a twin in another process, which began or ended a chunk; its forwards are this one's."""
        if dropped > self.dropped:
            self.frames = made - self.dropped  # `frames` may be those `behind_sink`
            self._drop(dropped - self.dropped)
        self.frames, self.made, self.dropped = frames, made, dropped

    def _drop(self, overflow: int) -> None:
        """Drop so many latents, the oldest but for the sink."""
        unit = 1 if self.compact else self.tokens_per_frame
        first, gap, kept = (frames * unit for frames in (self.sink, overflow, self.frames - self.sink - overflow))
        for k, v in zip(self._k, self._v, strict=True):
            if self.compact or not self.fp8:
                axis = 1 if self.compact else 2
                _move(k, axis, first, gap, kept)
                _move(v, axis, first, gap, kept)
            elif unit % BYTES or k.shape[-1] % BYTES:
                _move(k, 2, first, gap, kept)
                _move(v, 3, first, gap, kept)
            else:  # fp8, number by number, takes four times as long
                _move(k.view(torch.int64), 2, first, gap, kept)
                _move(v.view(torch.int64), 3, first // BYTES, gap // BYTES, kept // BYTES)
        self.frames -= overflow
        self.dropped += overflow

    @contextmanager
    def behind_sink(self) -> Iterator[None]:
        """Within, a forward writes its frames behind the sink, over the oldest of the window, and sees these alone."""
        frames, self.frames = self.frames, self.sink
        try:
            yield
        finally:
            self.frames = frames

    def commit(self) -> None:
        """The chunk's slots, as last written, are part of the past."""
        self.frames += self._coming
        self.made += self._coming

    def clear(self) -> None:
        """Forget everything."""
        self.frames = self.made = self.dropped = 0

    def fills(self, frames: int, *, prefill: bool) -> bool:
        """See `KVMemory.fills`."""
        return self.frames + frames == self.capacity_frames


def _move(tensor: Tensor, axis: int, first: int, gap: int, kept: int) -> None:
    """Move `kept` entries of an axis down to `first`, from `gap` above it."""
    # Cloned, since the two overlap.
    tensor.narrow(axis, first, kept).copy_(tensor.narrow(axis, first + gap, kept).clone())
