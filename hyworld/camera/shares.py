"""DreamX-World's paths: keys written as one word (`wj`), and each word's share of a video.

Source: DreamX-World `utils/trajectory_processor.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..config import frames_in
from ..errors import InputError
from .poses import integrate
from .tokens import DREAMX_SPEEDS, KEYS, MAX_LATENTS, Speeds, check_keys, motion_of

LETTERS = {"w": "w", "s": "s", "a": "a", "d": "d", "i": "up", "k": "down", "j": "left", "l": "right"}
"""Its keys, and ours."""

Runs = list[tuple[tuple[str, ...], int]]
"""Keys held together, and for how many pictures."""


def runs_of(words: Sequence[str], shares: Sequence[float], pictures: int) -> Runs:
    """Which keys are held for how many of `pictures`: shares are rounded, and the last word has the rest.

    Raises `InputError` for other letters, opposite keys, or other than a positive share for each word.
    """
    if not words or len(words) != len(shares) or not all(0 < share < math.inf for share in shares):
        raise InputError(
            f"A path of actions has a share above 0 for each, got {len(words)} actions and the shares {list(shares)}."
        )
    if not 1 <= pictures <= MAX_LATENTS:
        raise InputError(f"A path of actions lasts 1 to {MAX_LATENTS} pictures, got {pictures}.")
    counts = [round(pictures * share / sum(shares)) for share in shares[:-1]]
    return [(_keys(word), count) for word, count in zip(words, [*counts, pictures - sum(counts)], strict=True)]


def poses_of_actions(words: Sequence[str], shares: Sequence[float], latents: int) -> NDArray[np.float64]:
    """Poses `[latents, 4, 4]` of latents, from the first one's; raises as `runs_of`."""
    steps = DREAMX_SPEEDS.steps
    picture = Speeds(move=DREAMX_SPEEDS.move / steps, turn_deg=DREAMX_SPEEDS.turn_deg / steps)
    held = [keys for keys, count in runs_of(words, shares, frames_in(latents)) for _ in range(count)]
    # Picture 0 is where the path begins, with the first of its motions behind it.
    pictures = integrate([motion_of(keys, picture) for keys in held[1:]])
    return pictures[[0, *range(1, len(pictures), steps)]]


def _keys(word: str) -> tuple[str, ...]:
    letters = word.strip().lower()
    try:
        if not set(letters) <= set(LETTERS):
            raise ValueError("has letters that are no keys")
        keys = [LETTERS[letter] for letter in letters]
        check_keys(keys)
    except ValueError as problem:
        raise InputError(
            f'The action "{word:.40}" {problem}: its keys are {" ".join(LETTERS)}, written as one word.'
        ) from None
    return tuple(key for key in KEYS if key in keys)
