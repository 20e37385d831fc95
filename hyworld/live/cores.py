"""The cores that a live walk on a CPU takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_left(device: torch.device) -> Iterator[None]:
    """Within, PyTorch computes on one core less on a CPU: one is for who shows the walk. Same numbers.

    Every piece that is computed in parallel waits for its last thread. One that a browser interrupts for a while makes
    the others wait, thousands of times in a chunk: on two cores beside a program that takes one, a chunk of the
    built-in world takes 2.3 s on both and 0.8 s on one.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(max(1, threads - 1))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
