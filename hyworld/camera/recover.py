"""Poses → the pose tokens that walk them."""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby, pairwise, product

import numpy as np
from numpy.typing import NDArray

from .poses import integrate
from .tokens import DEFAULT_SPEEDS, motion_of

AXES = (
    ((), ("w",), ("s",)),
    ((), ("d",), ("a",)),
    ((), ("up",), ("down",)),
    ((), ("right",), ("left",), ("orbit_right",), ("orbit_left",)),
)
TOLERANCE = 1e-6


def tokens_of(c2w: NDArray[np.float64]) -> str:
    """Tokens that walk the poses `[N, 4, 4]` from the first one on at the trained speeds; "" if none do.

    Standing still has no token.
    """
    names, moves = _steps()
    held = []
    for here, there in pairwise(c2w):
        off = np.abs(moves - np.linalg.inv(here) @ there).max(axis=(1, 2))
        best = int(off.argmin())
        if off[best] > TOLERANCE or not names[best]:
            return ""
        held.append(names[best])
    return ", ".join(f"{keys}-{sum(1 for _ in run)}" for keys, run in groupby(held))


@lru_cache(maxsize=1)
def _steps() -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """The name of every combination of keys, and the pose it leads to from the identity; fewer keys first."""
    combined = sorted((sum(keys, ()) for keys in product(*AXES)), key=len)
    moves = [integrate([motion_of(keys)], DEFAULT_SPEEDS.orbit_radius)[1] for keys in combined]
    return tuple("+".join(keys) for keys in combined), np.stack(moves)
