"""What is said over a live walk's socket: what a client may say, checked, and what it is told.

Text messages are JSON objects with a `type`. Binary messages: the length of a JSON header (uint32, little-endian), the
header, then pictures one after the other. docs/live.md has them all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..camera.tokens import KEYS, shortened
from ..errors import InputError
from .controls import Held
from .pictures import pack

MOST_BYTES = 16 * 1024
"""Of a message from a client."""

MOST_WORDS = 4000
"""Characters of a prompt."""

_LATEST = 1e13
"""Milliseconds: 300 years, and still exact in a float."""


@dataclass(frozen=True)
class Input:
    """Keys and sticks; `at` is the sender's time stamp in milliseconds, to be sent back."""

    held: Held
    at: float


@dataclass(frozen=True)
class GoesOn:
    """Whether time goes on with no key held."""

    on: bool


@dataclass(frozen=True)
class Say:
    """Words for the chunks to come."""

    text: str


@dataclass(frozen=True)
class GoBack:
    """To where the world had so many chunks."""

    chunks: int


@dataclass(frozen=True)
class Playing:
    """The screen began to play this chunk, with so many seconds of play left in its buffer."""

    chunk: int
    left: float


@dataclass(frozen=True)
class Stop:
    """The end of the walk."""


Message = Input | GoesOn | Say | GoBack | Playing | Stop

Fields = Mapping[str, Any]


def read(text: str) -> Message:
    """A client's message; raises `InputError` for anything but those of docs/live.md."""
    try:
        if len(text) > MOST_BYTES:
            raise ValueError("is too long")
        fields = json.loads(text, parse_constant=_no_number)
        if not isinstance(fields, dict):
            raise ValueError("is no object")
        known = _KINDS.get(fields.get("type", "")) if isinstance(fields.get("type"), str) else None
        if known is None:
            raise ValueError(f"has the type {shortened(repr(fields.get('type')))}")
        return known(fields)
    except json.JSONDecodeError:
        problem = "is no JSON"
    except RecursionError:
        problem = "is nested too deep"
    except ValueError as error:
        problem = str(error)
    raise InputError(f"The message {problem}: see docs/live.md for what a live walk is told.")


def heard(at: float) -> dict[str, Any]:
    """The receipt of an input."""
    return {"type": "heard", "at": at}


def working(chunk: int, step: int, of: int) -> dict[str, Any]:
    """So many steps of a chunk are done."""
    return {"type": "working", "chunk": chunk, "step": step, "of": of}


def note(text: str) -> dict[str, Any]:
    """Something to know."""
    return {"type": "note", "text": text}


def error(text: str) -> dict[str, Any]:
    """What went wrong, in a sentence; the walk goes on."""
    return {"type": "error", "text": text}


def ended(text: str) -> dict[str, Any]:
    """The walk has ended, and why if not by the walker's wish."""
    return {"type": "ended", "text": text}


def without_frames(message: bytes) -> bytes:
    """A chunk's binary message with its thumbnail alone."""
    length = int.from_bytes(message[:4], "little")
    header = json.loads(message[4 : 4 + length])
    thumbnail = message[len(message) - header["thumbnail"] :]
    return pack({**header, "pictures": []}, [thumbnail])


def _input(fields: Fields) -> Message:
    at = _number(fields, "at", least=-_LATEST, most=_LATEST)
    keys = fields.get("keys", [])
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in KEYS for key in keys):
        raise ValueError(f"has keys other than {', '.join(KEYS)}")
    if len(set(keys)) < len(keys):
        raise ValueError("has a key twice")
    held = Held(at / 1000, tuple(keys), _stick(fields, "move"), _stick(fields, "turn"))
    return Input(held, at)


def _goes_on(fields: Fields) -> Message:
    if not isinstance(fields.get("on"), bool):
        raise ValueError('lacks "on": true or false')
    return GoesOn(fields["on"])


def _say(fields: Fields) -> Message:
    text = fields.get("text")
    if not isinstance(text, str):
        raise ValueError('lacks "text"')
    if len(text) > MOST_WORDS:
        raise ValueError(f"has words of more than {MOST_WORDS} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("has half a character in its words") from None
    return Say(text)


def _back(fields: Fields) -> Message:
    return GoBack(_whole(fields, "chunks"))


def _playing(fields: Fields) -> Message:
    return Playing(_whole(fields, "chunk"), _number(fields, "left", least=0, most=3600))


def _stop(_: Fields) -> Message:
    return Stop()


_KINDS: dict[str, Callable[[Fields], Message]] = {
    "input": _input,
    "goes_on": _goes_on,
    "words": _say,
    "back": _back,
    "playing": _playing,
    "stop": _stop,
}


def _number(fields: Fields, name: str, *, least: float, most: float) -> float:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise ValueError(f'lacks "{name}", a number from {least:g} to {most:g}')
    return value


def _whole(fields: Fields, name: str) -> int:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1_000_000:
        raise ValueError(f'lacks "{name}", a whole number from 0 on')
    return value


def _stick(fields: Fields, name: str) -> tuple[float, float]:
    value = fields.get(name, [0, 0])
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f'has no two numbers as "{name}"')
    for axis in value:
        if isinstance(axis, bool) or not isinstance(axis, (int, float)):
            raise ValueError(f'has no two numbers as "{name}"')
    return _axis(value[0]), _axis(value[1])


def _axis(value: float) -> float:
    return float(max(-1, min(1, value)))


def _no_number(text: str) -> float:
    raise ValueError(f"has the number {text}")
