"""Pose tokens: `w-3, w+right-4, orbit_left-2` → one `Motion` per latent.

A token is keys joined by `+`, a dash and a number of latents. Grammar of HY-WorldPlay
(`hyvideo/generate.py::parse_pose_string`), extended by combined keys, orbits, and DreamX-World's letters (`wl-4`).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

from ..config import CHUNK_LATENTS, VAE_TEMPORAL_STRIDE
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
"""Field of `Motion` and sign of each key. Orbits are named by the direction that the camera turns."""

LETTERS = {"w": "w", "s": "s", "a": "a", "d": "d", "i": "up", "k": "down", "j": "left", "l": "right"}
"""DreamX-World's keys, which are written together as one word, and ours."""

MEANT = {"forward": "w", "forwards": "w", "backward": "s", "backwards": "s", "back": "s"}
"""Common words whose key spelling distance does not find."""

MAX_LATENTS = 100_000
"""Longest path in latents: 7 hours of video."""

MAX_MOVE = 1000.0
"""Scene units per latent; memory reaches 8 units."""

MAX_TURN_DEG = 45.0
"""Keeps a turn plus an orbit within 90°, beyond which labels cannot tell yaw from pitch."""

EXAMPLE = (
    f"the keys are {', '.join(KEYS)} (i, k, j, l are up, down, left, right), and a token is written like "
    f'"w-4", "w+right-4" or "wl-4"'
)

DASHES = str.maketrans(dict.fromkeys("‐‑‒–—−", "-"))
"""Dashes that word processors insert."""


@dataclass(frozen=True)
class Speeds:
    """Motion per latent: `move` in scene units, `turn_deg` in degrees (turns and orbits). Defaults: WorldPlay's.

    orbit_radius: scene units from the camera to the point that it orbits.
    steps: a latent's motion is made in so many equal steps, each of which turns, then moves. The first motion of a path
        from a world's beginning has one of them: a video's first latent is one picture, the next ones `steps`.
    chunk_latents: latents of a chunk of the model with these speeds.
    """

    move: float = 0.08
    turn_deg: float = 3.0
    orbit_radius: float = 1.0
    steps: int = 1
    chunk_latents: int = CHUNK_LATENTS

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"The speed {field.name} must be a number of at least 0, got {value}.")
        for name in ("move", "orbit_radius"):
            if getattr(self, name) > MAX_MOVE:
                raise InputError(f"The speed {name} must be at most {MAX_MOVE:g} units, got {getattr(self, name):g}.")
        for name in ("steps", "chunk_latents"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise InputError(f"The speeds' {name} must be a whole number of at least 1, got {getattr(self, name)}.")
        if self.turn_deg > MAX_TURN_DEG:
            raise InputError(
                f"The speed turn_deg must be at most {MAX_TURN_DEG:g} degrees per latent, got {self.turn_deg}."
            )


DEFAULT_SPEEDS = Speeds()

DREAMX_SPEEDS = Speeds(move=0.3, turn_deg=6.0, steps=VAE_TEMPORAL_STRIDE, chunk_latents=3)
"""DreamX-World's: 0.075 units and 1.5 degrees a picture."""

PACES = {"WorldPlay": DEFAULT_SPEEDS, "DreamX-World": DREAMX_SPEEDS}
"""The models that follow a camera, and the speeds they were trained at."""


def trained_at(speeds: Speeds) -> Speeds:
    """The speeds of the model whose keys these are."""
    return next((pace for pace in PACES.values() if pace.steps == speeds.steps), DEFAULT_SPEEDS)


def paced(trained: Speeds, move: float = DEFAULT_SPEEDS.move, turn_deg: float = DEFAULT_SPEEDS.turn_deg) -> Speeds:
    """Speeds as shares of WorldPlay's (0.08 units, 3 degrees) → the same shares of those a model was trained at.

    Raises `InputError` as `Speeds`.
    """
    asked = Speeds(move=move, turn_deg=turn_deg)
    if trained == DEFAULT_SPEEDS:
        return asked
    share = asked.move / DEFAULT_SPEEDS.move, asked.turn_deg / DEFAULT_SPEEDS.turn_deg
    return replace(trained, move=trained.move * share[0], turn_deg=trained.turn_deg * share[1])


@dataclass(frozen=True)
class Motion:
    """Motion of one latent in the camera's frame: scene units and radians; yaw and orbit turn right, pitch up."""

    forward: float = 0.0
    right: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    orbit: float = 0.0


class ParsedTokens(NamedTuple):
    """One motion per latent after the first, and notes for the user on how the text was read."""

    motions: list[Motion]
    notes: tuple[str, ...]


def parse_tokens(text: str, speeds: Speeds = DEFAULT_SPEEDS) -> ParsedTokens:
    """Read pose tokens; case and white space do not matter.

    Counts are rounded down as in the original (2.5 is 2, 0.5 adds nothing), with a note.
    Raises `InputError` if the path is empty or too long or a token is malformed (with its position).
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
    """Motion of one latent with these keys held (see `check_keys`)."""
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
        axis, sign = _direction(key)
        other, other_sign = signs.setdefault(axis, (key, sign))
        if other_sign != sign:
            raise ValueError(f'has the opposite keys "{other}" and "{key}"')


def compatible(keys: Sequence[str]) -> tuple[str, ...]:
    """Keys as they may be held together, in the order of `KEYS`: of two opposed ones the later in `keys` stays."""
    kept = dict(map(_direction, keys))
    return tuple(key for key in KEYS if key in keys and kept[_direction(key)[0]] == _direction(key)[1])


def read_token(token: str) -> tuple[list[str], float]:
    """Keys and count of one token; raises `ValueError` with the end of a sentence."""
    keys_text, dash, count_text = (part.strip() for part in token.rpartition("-"))
    if not dash or not count_text:
        raise ValueError("lacks a count")
    if not keys_text:
        raise ValueError("lacks a key")
    if keys_text.endswith("-"):
        raise ValueError(f"has the negative count -{shortened(count_text)}")
    parts = [part.strip() for part in keys_text.split("+")]
    if "" in parts:
        raise ValueError('has a "+" with no key beside it')
    keys = spelled_out(parts)
    check_keys(keys)
    return keys, read_count(count_text)


def spelled_out(parts: Sequence[str]) -> list[str]:
    """Words of `LETTERS` as the keys that they stand for; others stay as they are."""
    return [
        key
        for part in parts
        for key in ([part] if part in KEYS or not set(part) <= set(LETTERS) else map(LETTERS.__getitem__, part))
    ]


def _direction(key: str) -> tuple[str, int]:
    """What a key turns or moves, and which way; an orbit turns the camera, so it counts as a turn."""
    axis, sign = KEYS[key]
    return "yaw" if axis == "orbit" else axis, sign


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
    """`text` cut to 40 characters, for messages."""
    return text if len(text) <= 40 else f"{text[:39]}…"
