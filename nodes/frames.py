"""Frames on their way into an IMAGE."""

from __future__ import annotations

import torch
from torch import Tensor


class Frames:
    """An IMAGE (float32 `[F, H, W, 3]` in 0..1) of known length, filled chunk by chunk, so that no frame lies in memory
    twice."""

    def __init__(self, count: int, size: tuple[int, int], device: torch.device) -> None:
        self.images = torch.empty((count, *size, 3), dtype=torch.float32, device=device)
        self._filled = 0

    def append(self, frames: Tensor) -> None:
        """The next frames, uint8 `[F, H, W, 3]`."""
        place = self.images[self._filled : self._filled + len(frames)]
        torch.div(frames.to(place.device), 255, out=place)
        self._filled += len(frames)
