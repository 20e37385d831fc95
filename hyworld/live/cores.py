"""The cores that a live walk on a CPU computes on."""

from __future__ import annotations

import statistics
from collections import deque

import torch

IN_TIME = 0.75
"""Share of a chunk's play in which it should be made, so that one that takes longer still comes in time."""

JUDGED_BY = 5
"""Chunks whose median decides."""


class Cores:
    """Within, a walk in bfloat16 is computed on one core fewer than PyTorch may take, if that is in time.

    The last one is for who shows the walk. Everything computed in parallel waits for its last thread, and a browser
    that interrupts one makes the others wait, thousands of times in a chunk. Where one fewer is too slow, all are
    taken; where that is slower still, since another program needs one, one fewer again.

    The latents are the same. In float32 they are not on some CPUs, and all cores are taken throughout.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._all = torch.get_num_threads()
        self._can_spare = device.type == "cpu" and dtype == torch.bfloat16 and self._all > 1
        self._spares = self._can_spare
        self._seconds: deque[float] = deque(maxlen=JUDGED_BY)
        self._since = 0  # chunks since the last change
        self._patience = JUDGED_BY
        self._with_fewer = 0.0

    def __enter__(self) -> Cores:
        self._take()
        return self

    def made(self, seconds: float, play: float) -> None:
        """A chunk was made in so many seconds, which plays so long."""
        self._seconds.append(seconds)
        self._since += 1
        if not self._can_spare or self._since < (self._patience if self._spares else JUDGED_BY):
            return
        typical = statistics.median(self._seconds)
        if self._spares and typical > IN_TIME * play:
            self._with_fewer = typical
        elif not self._spares and typical > self._with_fewer:
            self._patience *= 2
        else:
            return
        self._spares = not self._spares
        self._since = 0
        self._take()

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._all)

    def _take(self) -> None:
        torch.set_num_threads(self._all - self._spares)
