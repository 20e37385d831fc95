"""Pose tokens: `w-3, w+right-4, orbit_left-2` → one small motion per latent.

A path is tokens separated by commas; a token is keys joined by `+`, a dash, and a number of latents. Case and
white space do not matter. The grammar of HY-WorldPlay (`hyvideo/generate.py::parse_pose_string`), with combined
keys and orbits added.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

from ..errors import InputError

KEYS = {
    "w": ("forward", 1),
    "s": ("forward", -1),
    "a": ("right", -1),
    "d": ("right", 1),
    "up": ("pitch", 1),
    "down": ("pitch", -1),
    "left": ("yaw", -1),
    "right": ("yaw", 1),
    "orbit_left": ("orbit", -1),
    "orbit_right": ("orbit", 1),
}
"""What each key moves: a field of `Motion`, and its sign. Orbits are named by the way the camera turns."""

MEANT = {"forward": "w", "forwards": "w", "backward": "s", "backwards": "s", "back": "s"}
"""Words people try that no spelling distance leads from to the key."""

MAX_LATENTS = 100_000
"""Longest path in latents (7 hours of video): what lies beyond is a slip of the keyboard."""

MAX_MOVE = 1000.0
"""Scene units per latent; the memory reaches 8 units."""

MAX_TURN_DEG = 45.0
"""A turn and an orbit together stay within a quarter turn; beyond it the labels cannot tell yaw from pitch."""

EXAMPLE = f'the keys are {", ".join(KEYS)}, and a token is written like "w-4" or "w+right-4"'

DASHES = str.maketrans(dict.fromkeys("‐‑‒–—−", "-"))
"""Word processors replace the dash."""


@dataclass(frozen=True)
class Speeds:
    """How far one latent goes: `move` in scene units, `turn_deg` in degrees (turns and orbits).

    An orbit turns the camera about a point `orbit_radius` units ahead of it. Defaults: what the model was trained on.
    """

    move: float = 0.08
    turn_deg: float = 3.0
    orbit_radius: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"The speed {field.name} must be a number of at least 0, got {value}.")
        for name in ("move", "orbit_radius"):
            if getattr(self, name) > MAX_MOVE:
                raise InputError(f"The speed {name} must be at most {MAX_MOVE:g} units, got {getattr(self, name):g}.")
        if self.turn_deg > MAX_TURN_DEG:
            raise InputError(
                f"The speed turn_deg must be at most {MAX_TURN_DEG:g} degrees per latent, got {self.turn_deg}."
            )


DEFAULT_SPEEDS = Speeds()


@dataclass(frozen=True)
class Motion:
    """What the camera does in one latent, in its own frame: units along, radians around.

    Positive is forward, right, yaw to the right, pitch up, and an orbit that yaws to the right.
    """

    forward: float = 0.0
    right: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    orbit: float = 0.0


class ParsedTokens(NamedTuple):
    """One motion per latent after the first, and what the user should know about how the text was read."""

    motions: list[Motion]
    notes: tuple[str, ...]


def parse_tokens(text: str, speeds: Speeds = DEFAULT_SPEEDS) -> ParsedTokens:
    """Read a path of pose tokens.

    Counts are rounded down as in the original: 2.5 is 2, and below 1 adds nothing; either leaves a note.

    Raises:
        InputError: the path is empty or too long, or a token is malformed; names the token and its position.
    """
    tokens = [" ".join(token.split()) for token in text.translate(DASHES).lower().split(",")]
    tokens = [token for token in tokens if token]
    if not tokens:
        raise InputError(f"The camera path is empty: {EXAMPLE}.")
    motions: list[Motion] = []
    notes: list[str] = []
    for position, token in enumerate(tokens, start=1):
        shown = shortened(token)
        try:
            keys, count = read_token(token)
        except ValueError as problem:
            raise InputError(f'Token {position} of the camera path, "{shown}", {problem}: {EXAMPLE}.') from None
        latents = math.floor(count)
        if latents < 1:
            notes.append(f'Token {position}, "{shown}", adds nothing: its count is below 1 latent.')
        elif latents != count:
            notes.append(f'Token {position}, "{shown}", lasts {latents} latents: counts are rounded down.')
        motions += [motion_of(keys, speeds)] * latents
        if len(motions) > MAX_LATENTS:
            raise InputError(
                f'Token {position} of the camera path, "{shown}", makes the path longer than {MAX_LATENTS} latents: '
                f"shorten it."
            )
    return ParsedTokens(motions, tuple(notes))


def motion_of(keys: Sequence[str], speeds: Speeds = DEFAULT_SPEEDS) -> Motion:
    """One latent with the given keys held down (checked keys, see `check_keys`)."""
    turn = math.radians(speeds.turn_deg)
    step = {"forward": speeds.move, "right": speeds.move, "yaw": turn, "pitch": turn, "orbit": turn}
    held = (KEYS[key] for key in keys)
    return replace(Motion(), **{axis: sign * step[axis] for axis, sign in held})


def check_keys(keys: Sequence[str]) -> None:
    """Raise `ValueError` with the end of a sentence unless the keys are known, different and not opposed."""
    signs: dict[str, tuple[str, int]] = {}
    for i, key in enumerate(keys):
        if key not in KEYS:
            close = [MEANT[key]] if key in MEANT else difflib.get_close_matches(key, KEYS, n=1)
            hint = f' (did you mean "{close[0]}"?)' if close else ""
            raise ValueError(f'has the unknown key "{shortened(key)}"{hint}')
        if key in keys[:i]:
            raise ValueError(f'has the key "{key}" twice')
        axis, sign = KEYS[key]
        # An orbit turns the camera too, so it opposes a turn the other way.
        other, other_sign = signs.setdefault("yaw" if axis == "orbit" else axis, (key, sign))
        if other_sign != sign:
            raise ValueError(f'has the opposite keys "{other}" and "{key}"')


def read_token(token: str) -> tuple[list[str], float]:
    """Keys and count of one token; raises `ValueError` with the end of a sentence."""
    keys_text, dash, count_text = (part.strip() for part in token.rpartition("-"))
    if not dash or not count_text:
        raise ValueError("lacks a count")
    if not keys_text:
        raise ValueError("lacks a key")
    if keys_text.endswith("-"):
        raise ValueError(f"has the negative count -{shortened(count_text)}")
    keys = [key.strip() for key in keys_text.split("+")]
    if "" in keys:
        raise ValueError('has a "+" with no key beside it')
    check_keys(keys)
    return keys, read_count(count_text)


def read_count(text: str) -> float:
    """The number of latents after the dash; raises `ValueError` with the end of a sentence."""
    try:
        count = float(text)
    except ValueError:
        raise ValueError(f'has the count "{shortened(text)}", which is not a number') from None
    if not math.isfinite(count):
        raise ValueError(f'has the count "{shortened(text)}", which is not a finite number')
    if count > MAX_LATENTS:
        raise ValueError(f"has a count above {MAX_LATENTS}")
    return count


def shortened(text: str) -> str:
    """Text of the user's as it is shown in a message."""
    return text if len(text) <= 40 else f"{text[:39]}…"
