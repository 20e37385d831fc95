"""Key presses per latent (`W*8, W+→*4, idle*2`): the notation of games, beside the pose tokens of `tokens`."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .actions import label_from_keys
from .recover import presses
from .tokens import DEFAULT_SPEEDS, KEYS, MAX_LATENTS, Motion, Speeds, check_keys, motion_of, spelled_out
from .trajectory import Trajectory

ARROWS = {"↑": "up", "↓": "down", "←": "left", "→": "right"}
IDLE = ("idle", "none")

Keys = tuple[str, ...]
"""Keys held in one latent, as in `tokens.KEYS`; empty is idle."""


@dataclass(frozen=True)
class Presses:
    """The keys held in each latent, as a value that reads as the text it came from."""

    keys: tuple[Keys, ...]

    def __str__(self) -> str:
        return presses(self.keys)


def parse_keys(text: str) -> list[Keys]:
    """Read key presses, one entry of the result per latent.

    Entries are separated by commas, semicolons or line ends: keys joined by `+`, or `idle`, then optionally `*` and a
    number of latents (default 1). Raises `InputError` if there is none, or for a bad entry (with its position).
    """
    entries = [entry.strip().lower() for entry in re.split(r"[,\n;]", text)]
    entries = [entry for entry in entries if entry]
    sequence: list[Keys] = []
    for position, entry in enumerate(entries, start=1):
        try:
            keys, count = _read_entry(entry)
        except ValueError as problem:
            raise InputError(f'Entry {position} of the key presses, "{entry}", {problem}: {_example()}.') from None
        sequence += [keys] * count
        if len(sequence) > MAX_LATENTS:
            raise InputError(f"The key presses last longer than {MAX_LATENTS} latents: shorten them.")
    if not sequence:
        raise InputError(f"There are no key presses: {_example()}.")
    return sequence


def trajectory_from_keys(
    sequence: list[Keys], speeds: Speeds = DEFAULT_SPEEDS, third_person: bool | None = None
) -> Trajectory:
    """Path of N + 1 poses for N entries, labelled from the poses; `third_person` as in `Trajectory.from_tokens`."""
    motions = [motion_of(keys, speeds) if keys else Motion() for keys in sequence]
    return Trajectory.of_motions(motions, speeds, third_person)


def relabel(trajectory: Trajectory, sequence: list[Keys]) -> Trajectory:
    """The same poses with the labels of these keys, the first latent's 0.

    Raises `InputError` unless a path of N latents gets N - 1 entries.
    """
    if len(sequence) != len(trajectory) - 1:
        raise InputError(
            f"The key presses last {len(sequence)} latents, but the path of {len(trajectory)} latents takes "
            f"{len(trajectory) - 1} (its first latent has none): make them as long as the path."
        )
    labels = [0, *(label_from_keys(keys) for keys in sequence)]
    return trajectory.with_labels(np.array(labels))


def _read_entry(entry: str) -> tuple[Keys, int]:
    """Keys and count of one entry; raises `ValueError` with the end of a sentence."""
    keys_text, star, count_text = (part.strip() for part in entry.partition("*"))
    if star and not re.fullmatch(r"\d+", count_text):
        raise ValueError(f'has the count "{count_text}", which is not a whole number')
    count = int(count_text) if star else 1
    if not 1 <= count <= MAX_LATENTS:
        raise ValueError(f"has a count that is not between 1 and {MAX_LATENTS}")
    if keys_text in IDLE:
        return (), count
    parts = [ARROWS.get(part.strip(), part.strip()) for part in keys_text.split("+")]
    if "" in parts:
        raise ValueError("lacks a key")
    keys = tuple(spelled_out(parts))
    check_keys(keys)
    return keys, count


def _example() -> str:
    return (
        f"the keys are {', '.join(KEYS)} (up, down, left, right also {' '.join(ARROWS)} or i, k, j, l) and idle, "
        f'written like "W*8, W+→*4, idle*2"'
    )
