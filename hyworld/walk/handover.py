"""Between ordinary memory and the device: inputs on their way there, finished frames and latents on their way back."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`, without waiting for what the device has to do before."""
    pinned = tensor.is_cpu and device.type == "cuda"
    return tensor.pin_memory().to(device, non_blocking=True) if pinned else tensor.to(device)


class HandOver:
    """Collects tensors of one chunk, piece by piece along their first axis.

    From a CUDA device they travel through pinned memory on a stream of their own, while the device makes the next
    ones; the wait for them is in `collect`, and only there.
    """

    def __init__(self) -> None:
        self._stream: torch.cuda.Stream | None = None
        self._pieces: list[tuple[Tensor, torch.cuda.Event | None]] = []

    def push(self, piece: Tensor) -> None:
        """Send `piece`, such as pictures `[F, H, W, 3]`, on its way."""
        if not piece.is_cuda:
            self._pieces.append((piece.cpu(), None))
            return
        self._stream = self._stream or torch.cuda.Stream(piece.device)
        self._stream.wait_stream(torch.cuda.current_stream(piece.device))
        with torch.cuda.stream(self._stream):
            staged = torch.empty(piece.shape, dtype=piece.dtype, pin_memory=True)
            staged.copy_(piece, non_blocking=True)
            # It was made on another stream, which must not give its memory away before this copy is done.
            piece.record_stream(self._stream)
            self._pieces.append((staged, self._stream.record_event()))

    def collect(self) -> Tensor:
        """All that was pushed, in ordinary memory."""
        first = self._pieces[0][0]
        whole = torch.empty((sum(len(piece) for piece, _ in self._pieces), *first.shape[1:]), dtype=first.dtype)
        start = 0
        for piece, arrived in self._pieces:
            if arrived is not None:
                arrived.synchronize()
            whole[start : start + len(piece)] = piece
            start += len(piece)
        return whole
