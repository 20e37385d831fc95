"""DreamX-World's paths: keys written as one word (`wj`), and each word's share of a video.

Source: DreamX-World `utils/trajectory_processor.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError
from .tokens import KEYS, MAX_LATENTS, check_keys

LETTERS = {"w": "w", "s": "s", "a": "a", "d": "d", "i": "up", "k": "down", "j": "left", "l": "right"}
"""Its keys, and ours."""

Runs = list[tuple[tuple[str, ...], int]]
"""Keys held together, and for how many pictures."""


def runs_of(words: Sequence[str], shares: Sequence[float], pictures: int) -> Runs:
    """Which keys are held for how many of `pictures`: shares are rounded, and the last word has the rest.

    Raises `InputError` for other letters, opposite keys, or other than a positive share for each word.
    """
    if not words or len(words) != len(shares) or not all(share > 0 for share in shares):
        raise InputError(
            f"A path of actions has a share above 0 for each, got {len(words)} actions and the shares {list(shares)}."
        )
    if not 1 <= pictures <= MAX_LATENTS:
        raise InputError(f"A path of actions lasts 1 to {MAX_LATENTS} pictures, got {pictures}.")
    counts = [round(pictures * share / sum(shares)) for share in shares[:-1]]
    return [(_keys(word), count) for word, count in zip(words, [*counts, pictures - sum(counts)], strict=True)]


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
