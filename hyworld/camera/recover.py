"""Poses → the keys that walk them, in words."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby, pairwise, product

import numpy as np
from numpy.typing import NDArray

from .poses import poses_of
from .tokens import DEFAULT_SPEEDS, DREAMX_SPEEDS, Speeds, motion_of

AXES = (
    ((), ("w",), ("s",)),
    ((), ("d",), ("a",)),
    ((), ("up",), ("down",)),
    ((), ("right",), ("left",), ("orbit_right",), ("orbit_left",)),
)
TOLERANCE = 1e-6
TRAINED = (DEFAULT_SPEEDS, DREAMX_SPEEDS)


def tokens_of(c2w: NDArray[np.float64]) -> str:
    """Tokens that walk the poses `[N, 4, 4]` from the first one on at speeds some model was trained at; "" if none do.

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
    return next((held for speeds in TRAINED if (held := _held_at(c2w, speeds)) is not None), None)


def _held_at(c2w: NDArray[np.float64], speeds: Speeds) -> list[tuple[str, ...]] | None:
    held = []
    for i, (here, there) in enumerate(pairwise(c2w)):
        combined, moves = _steps(speeds, i > 0)
        off = np.abs(moves - np.linalg.inv(here) @ there).max(axis=(1, 2))
        best = int(off.argmin())
        if off[best] > TOLERANCE:
            return None
        held.append(combined[best])
    return held


@lru_cache(maxsize=4)
def _steps(speeds: Speeds, onwards: bool) -> tuple[list[tuple[str, ...]], NDArray[np.float64]]:
    """Every combination of keys, and the pose it leads to from the identity; fewer keys first."""
    combined = sorted((sum(keys, ()) for keys in product(*AXES)), key=len)
    moves = [poses_of([motion_of(keys, speeds)], speeds, onwards=onwards)[1] for keys in combined]
    return combined, np.stack(moves)
