"""Finished frames on their way from the device to ordinary memory."""

from __future__ import annotations

import torch
from torch import Tensor


class HandOver:
    """Collects the pictures of one chunk, piece by piece.

    From a CUDA device they travel through pinned memory on a stream of their own, while the device makes the next
    ones; the wait for them is in `collect`, and only there.
    """

    def __init__(self) -> None:
        self._stream: torch.cuda.Stream | None = None
        self._pieces: list[tuple[Tensor, torch.cuda.Event | None]] = []

    def push(self, pictures: Tensor) -> None:
        """Send `pictures`, uint8 `[F, H, W, 3]`, on their way."""
        if not pictures.is_cuda:
            self._pieces.append((pictures.cpu(), None))
            return
        self._stream = self._stream or torch.cuda.Stream(pictures.device)
        self._stream.wait_stream(torch.cuda.current_stream(pictures.device))
        with torch.cuda.stream(self._stream):
            staged = torch.empty(pictures.shape, dtype=pictures.dtype, pin_memory=True)
            staged.copy_(pictures, non_blocking=True)
            # They were made on another stream, which must not give their memory away before this copy is done.
            pictures.record_stream(self._stream)
            self._pieces.append((staged, self._stream.record_event()))

    def collect(self) -> Tensor:
        """All pictures pushed, `[F, H, W, 3]`, in ordinary memory."""
        shape = (sum(len(piece) for piece, _ in self._pieces), *self._pieces[0][0].shape[1:])
        pictures = torch.empty(shape, dtype=torch.uint8)
        start = 0
        for piece, arrived in self._pieces:
            if arrived is not None:
                arrived.synchronize()
            pictures[start : start + len(piece)] = piece
            start += len(piece)
        return pictures
