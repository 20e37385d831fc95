"""How people read chunks and latents: counted from 1. Indices in Python start at 0."""

from __future__ import annotations

from collections.abc import Sequence


def numbers(indices: Sequence[int]) -> str:
    """Ascending indices as the numbers people read: (0, 1, 2, 3, 8) → "1-4, 9"; none → "nothing"."""
    runs: list[list[int]] = []
    for number in (i + 1 for i in indices):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in runs) or "nothing"
