"""When to ask for the next chunk: late, so that it shows the newest keys, but before the screen has nothing to play."""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import NamedTuple

LEAD = 0.1
"""Seconds for pictures to be encoded, sent and decoded, and for a chunk that takes longer than those before."""

JUDGED_BY = 5
"""Chunks of which the slowest tells how long the next one may take, unless it is out of all proportion."""

PROPORTION = 2.0
"""Times the median: beyond lie chunks for which kernels were built or another program ran."""

NOTICED = 0.03
"""Seconds of lateness that a screen's own beat explains."""

MOST_LATE = 1.0
FORGIVEN = 0.98
"""What is left of the extra time after a chunk in time."""


class _Expected(NamedTuple):
    starts: float
    play: float
    joins: bool  # it was there before the one before had ended


class Pacing:
    """Follows the play of one screen. Times in seconds, moments on any one clock.

    Without receipts (`playing`) it assumes a screen that plays every chunk as soon as it can.
    """

    def __init__(self) -> None:
        self._computing: deque[float] = deque(maxlen=JUDGED_BY)
        self._expected: dict[int, _Expected] = {}
        self._ends: float | None = None
        self._late = 0.0
        self._play = 0.0  # of the newest chunk

    def due(self, now: float) -> float:
        """The moment to ask for the next chunk; `now` if nothing plays."""
        if self._ends is None:
            return now
        return self._ends - self._computes() - LEAD - self._late

    def made(self, chunk: int, play: float, asked: float, now: float) -> None:
        """A chunk was made, which plays so long."""
        self._computing.append(now - asked)
        joins = self._ends is not None and self._ends > now
        starts = self._ends if self._ends is not None and joins else now
        self._expected[chunk] = _Expected(starts, play, joins)
        self._ends = starts + play
        self._play = play

    def playing(self, chunk: int, left: float, now: float) -> None:
        """The screen began to play a chunk and has so many seconds to play, this included.

        Nothing changes if the chunk is not one that was made since the last `restart`.
        """
        if chunk not in self._expected:
            return
        began = self._expected[chunk]
        self._learn(now - began.starts, began.joins)
        ahead = {index: other.play for index, other in self._expected.items() if index >= chunk}
        known = 0.0
        for play in ahead.values():  # the rest is on its way
            if known + play / 2 <= left:
                known += play
        self._ends = now - max(0.0, known - left)
        for index, play in ahead.items():
            self._expected[index] = _Expected(self._ends, play, joins=True)
            self._ends += play
        self._expected = {index: self._expected[index] for index in ahead}

    def restart(self) -> None:
        """Nothing plays any more: one stands still, or elsewhere."""
        self._ends = None
        self._expected.clear()

    def _computes(self) -> float:
        """Seconds the next chunk takes; more than the play of one would only fill the screen's buffer."""
        return min(max(self._computing), PROPORTION * median(self._computing), self._play)

    def _learn(self, late: float, joins: bool) -> None:
        """Ask earlier by what a chunk was late; a little less so with every one in time."""
        if not joins:  # the screen stood still: all of the way is seen
            self._late = min(MOST_LATE, max(0.0, late - LEAD))
        elif late > NOTICED:
            self._late = min(MOST_LATE, self._late + late + NOTICED)
        else:
            self._late *= FORGIVEN
