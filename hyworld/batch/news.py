"""What makers of walks tell of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .lines import Line

MOST_DEATHS = 3
"""Workers or servers that a walk may lose; then it counts as one that cannot be made."""


class Progress(NamedTuple):
    """So many chunks of a walk are made, the one in work in part."""

    done: float
    chunks: int


class Made(NamedTuple):
    """The walk is there, and its record."""

    record: Mapping[str, Any]


class Failed(NamedTuple):
    """It cannot be made, for a reason that the next try would meet, too."""

    problem: str


class Again(NamedTuple):
    """It is begun anew."""

    reason: str


class News(NamedTuple):
    """Of one line."""

    line: Line
    what: Progress | Made | Failed | Again
