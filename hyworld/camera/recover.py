"""Poses → the keys that walk them, in words."""

from __future__ import annotations

from collections.abc import Iterable
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
    held = _held(c2w)
    return "" if held is None else _tokens(held)


def in_words(c2w: NDArray[np.float64]) -> str:
    """Such tokens, or where a latent stands still, key presses (`keys.parse_keys`); "" if neither walks the poses."""
    held = _held(c2w)
    return "" if held is None else _tokens(held) or presses(held)


def presses(held: Iterable[tuple[str, ...]]) -> str:
    """The keys held in each latent, as `keys.parse_keys` reads them."""
    runs = [("+".join(keys).upper() or "idle", sum(1 for _ in run)) for keys, run in groupby(held)]
    return ", ".join(f"{keys}*{count}" for keys, count in runs)


def _tokens(held: list[tuple[str, ...]]) -> str:
    """The same as tokens; "" if a latent stands still."""
    if not all(held):
        return ""
    return ", ".join(f"{'+'.join(keys)}-{sum(1 for _ in run)}" for keys, run in groupby(held))


def _held(c2w: NDArray[np.float64]) -> list[tuple[str, ...]] | None:
    """The keys of each latent after the first; None if none walk there."""
    combined, moves = _steps()
    held = []
    for here, there in pairwise(c2w):
        off = np.abs(moves - np.linalg.inv(here) @ there).max(axis=(1, 2))
        best = int(off.argmin())
        if off[best] > TOLERANCE:
            return None
        held.append(combined[best])
    return held


@lru_cache(maxsize=1)
def _steps() -> tuple[list[tuple[str, ...]], NDArray[np.float64]]:
    """Every combination of keys, and the pose it leads to from the identity; fewer keys first."""
    combined = sorted((sum(keys, ()) for keys in product(*AXES)), key=len)
    moves = [integrate([motion_of(keys)], DEFAULT_SPEEDS.orbit_radius)[1] for keys in combined]
    return combined, np.stack(moves)
