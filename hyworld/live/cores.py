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
    """Within, PyTorch computes on one core fewer than it may, while chunks are made in time on those: same numbers.

    The last one is for who shows the walk. Everything computed in parallel waits for its last thread, and a browser
    that interrupts one makes the others wait, thousands of times in a chunk.
    """

    def __init__(self, device: torch.device) -> None:
        self._all = torch.get_num_threads()
        self._seconds: deque[float] = deque(maxlen=JUDGED_BY)
        self._spares = device.type == "cpu" and self._all > 1

    def __enter__(self) -> Cores:
        if self._spares:
            torch.set_num_threads(self._all - 1)
        return self

    def made(self, seconds: float, play: float) -> None:
        """A chunk was made in so many seconds, which plays so long: take all cores if that is too slow."""
        self._seconds.append(seconds)
        full = len(self._seconds) == JUDGED_BY
        if self._spares and full and statistics.median(self._seconds) > IN_TIME * play:
            self._spares = False
            torch.set_num_threads(self._all)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._all)
