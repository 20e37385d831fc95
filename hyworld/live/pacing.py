"""When to ask for the next chunk: late, so that it shows the newest keys, but before the screen has nothing to play."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

LEAD = 0.1
"""Seconds for pictures to be encoded, sent and decoded, and for a chunk that takes longer than those before."""

JUDGED_BY = 30
"""Chunks of which the slowest tells how long the next one may take, unless it stands alone."""

ALONE = 1.25
"""Times the slowest but one: beyond lie chunks for which kernels were built or another program ran."""

YOUNG = 5
"""Chunks of which each may take longer than those before: while a world is young it remembers more with every one."""

NOTICED = 0.03
"""Seconds of lateness that a screen's own beat explains."""

MOST_LATE = 1.0
FORGIVEN = 0.95
"""What is left of the extra time after a chunk in time."""


class _Expected(NamedTuple):
    made: float
    starts: float
    play: float


class Pacing:
    """Follows the play of one screen. Times in seconds, moments on any one clock.

    Without receipts (`playing`) it assumes a screen that plays every chunk as soon as it can. A client that plays
    nothing, but records, says that it has nothing left to play: the next chunk is then due at once.
    """

    def __init__(self) -> None:
        self._computing: deque[float] = deque(maxlen=JUDGED_BY)
        self._expected: dict[int, _Expected] = {}
        self._ends: float | None = None
        self._plays = True
        self._late = 0.0
        self._play = 0.0  # of the newest chunk

    def due(self, now: float) -> float:
        """The moment to ask for the next chunk; `now` if nothing plays."""
        if self._ends is None or not self._plays:
            return now
        return self._ends - self._computes() - LEAD - self._late

    def made(self, chunk: int, play: float, asked: float, now: float) -> None:
        """A chunk was made, which plays so long."""
        self._computing.append(now - asked)
        starts = now if self._ends is None else max(self._ends, now)
        self._expected[chunk] = _Expected(now, starts, play)
        self._ends = starts + play
        self._play = play

    def playing(self, chunk: int, left: float, now: float) -> None:
        """The screen began to play a chunk and has so many seconds to play, this included; 0: it plays nothing.

        Nothing changes if the chunk is not one that was made since the last `restart`.
        """
        if chunk not in self._expected:
            return
        self._plays = left > 0
        self._learn(self._expected[chunk], now)
        ahead = {index: other for index, other in self._expected.items() if index >= chunk}
        known = 0.0
        for other in ahead.values():  # the rest is on its way
            if known + other.play / 2 <= left:
                known += other.play
        self._ends = now - max(0.0, known - left)
        for index, other in ahead.items():
            ahead[index] = other._replace(starts=self._ends)
            self._ends += other.play
        self._expected = ahead

    def restart(self) -> None:
        """Nothing plays any more: one stands still, or elsewhere."""
        self._ends = None
        self._expected.clear()

    def _computes(self) -> float:
        """Seconds the next chunk takes; more than the play of one would only fill the screen's buffer."""
        slowest = sorted(self._computing)[-2:]
        computes = min(slowest[-1], ALONE * slowest[0])
        return min(computes * (ALONE if len(self._computing) < YOUNG else 1), self._play)

    def _learn(self, began: _Expected, now: float) -> None:
        """Ask earlier if the way to the screen is long; a little less so with every chunk in time."""
        if now > began.starts + NOTICED:  # it was played as it came
            self._late = min(MOST_LATE, max(0.0, now - began.made - LEAD))
        else:
            self._late *= FORGIVEN
