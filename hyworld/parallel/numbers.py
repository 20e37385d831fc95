"""Numbers for things that every process has one of: by them the leader tells which it means."""

from __future__ import annotations

import weakref
from collections import deque
from itertools import count
from typing import Any


class Numbers:
    """Of the leader's things, for as long as they live.

    ended: numbers of those that have gone since somebody looked. Appended to on any thread.
    """

    def __init__(self) -> None:
        self.ended: deque[int] = deque()
        self._next = count(1)
        self._known: dict[int, int] = {}

    def new(self, thing: Any) -> int:
        """A number for `thing`."""
        number = next(self._next)
        self._known[id(thing)] = number
        weakref.finalize(thing, self._end, id(thing), number).atexit = False
        return number

    def of(self, thing: Any) -> int | None:
        """The number of `thing`, None if it has none."""
        return self._known.get(id(thing))

    def _end(self, place: int, number: int) -> None:
        if self._known.get(place) == number:
            del self._known[place]
        self.ended.append(number)
