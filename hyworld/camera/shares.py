"""DreamX-World's paths: keys written as one word (`wj`), and each word's share of a video.

Source: DreamX-World `utils/trajectory_processor.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .poses import integrate
from .tokens import DREAMX_SPEEDS, KEYS, LETTERS, MAX_LATENTS, Speeds, motion_of

Runs = list[tuple[tuple[str, ...], int]]
"""Keys held together, and for how many pictures."""


def runs_of(words: Sequence[str], shares: Sequence[float], pictures: int) -> Runs:
    """Which keys are held for how many of `pictures`: shares are rounded to 1 at least, and the last word has the rest.

    Words for which no picture is left are not in it. Raises `InputError` for other letters, or other than a positive
    share for each word.
    """
    if not words or len(words) != len(shares) or not all(0 < share < math.inf for share in shares):
        raise InputError(
            f"A path of actions has a share above 0 for each, got {len(words)} actions and the shares {list(shares)}."
        )
    if not 1 <= pictures <= MAX_LATENTS:
        raise InputError(f"A path of actions lasts 1 to {MAX_LATENTS} pictures, got {pictures}.")
    runs: Runs = []
    left, whole = pictures, sum(shares)
    for word, share in zip(words[:-1], shares[:-1], strict=True):
        count = min(left, max(1, round(pictures * share / whole)))
        runs.append((keys_of(word), count))
        left -= count
    runs.append((keys_of(words[-1]), left))
    return [(keys, count) for keys, count in runs if count]


def poses_of_actions(
    words: Sequence[str], shares: Sequence[float], pictures: int, *, onwards: bool = False
) -> NDArray[np.float64]:
    """Poses `[latents, 4, 4]` of the latents of so many pictures, from the first one's; raises as `runs_of`.

    onwards: see `poses.poses_of`.
    """
    steps = DREAMX_SPEEDS.steps
    picture = Speeds(move=DREAMX_SPEEDS.move / steps, turn_deg=DREAMX_SPEEDS.turn_deg / steps)
    held = [keys for keys, count in runs_of(words, shares, pictures) for _ in range(count)]
    # Picture 0 is where the path begins, with the first of its motions behind it.
    poses = integrate([motion_of(keys, picture) for keys in held[1:]])
    latents = 1 + (pictures - 1) // steps
    return poses[[0, *(steps * k + (0 if onwards else 1 - steps) for k in range(1, latents))]]


def keys_of(word: str) -> tuple[str, ...]:
    """The keys of a word, in our order; opposite ones cancel out. Raises `InputError` for other letters."""
    letters = set("".join(word.lower().split()))
    if not letters <= set(LETTERS):
        raise InputError(
            f'The action "{word:.40}" has letters that are no keys: its keys are {" ".join(LETTERS)}, '
            f"written as one word."
        )
    held = {KEYS[LETTERS[letter]] for letter in letters}
    return tuple(key for key, (axis, sign) in KEYS.items() if (axis, sign) in held and (axis, -sign) not in held)
