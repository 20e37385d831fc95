"""What is said over a live walk's socket: what a client may say, checked, and what it is told.

Text messages are JSON objects with a `type`. Binary messages: the length of a JSON header (uint32, little-endian), the
header, then pictures one after the other. docs/live.md has them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .controls import Held

MOST_BYTES = 16 * 1024
"""Of a message from a client."""

MOST_WORDS = 4000
"""Characters of a prompt."""


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


def read(text: str) -> Message:
    """A client's message; raises `InputError` for anything but those of docs/live.md."""
    raise NotImplementedError


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


def binary(header: dict[str, Any], pictures: Sequence[bytes]) -> bytes:
    """A binary message; the lengths of `pictures` go into the header as `pictures`."""
    raise NotImplementedError
