"""How far a batch is, and when it will be done."""

from __future__ import annotations


class Estimate:
    """Of so many walks.

    counts_chunks: else a walk is told in parts of one.
    made, failed, there: walks that are made, could not be made, and were there before.
    """

    def __init__(self, total: int, *, counts_chunks: bool = True) -> None:
        self.total = total
        self._counts_chunks = counts_chunks
        self.made = self.failed = self.there = 0
        self._chunks = 0.0  # of the walks that were made
        self._in_work: dict[int, tuple[float, int]] = {}

    def works(self, line: int, chunks: float, of: int) -> None:
        """The walk of `line` has so many of its chunks, with a part of the one in work."""
        self._in_work[line] = (chunks, of)

    def ends(self, line: int, *, made: bool) -> None:
        """The walk of `line` is made, or cannot be."""
        _, chunks = self._in_work.pop(line, (0.0, 0))
        if made:
            self.made += 1
            self._chunks += chunks
        else:
            self.failed += 1

    def dropped(self, line: int) -> None:
        """The walk of `line` will be begun anew."""
        self._in_work.pop(line, None)

    @property
    def chunks(self) -> float:
        """Chunks made since the beginning, those of walks in work included."""
        return self._chunks + sum(done for done, _ in self._in_work.values())

    @property
    def done(self) -> int:
        """Walks of which nothing is to be done any more."""
        return self.made + self.failed + self.there

    def seconds_left(self, passed: float) -> float | None:
        """After so many seconds; None while nothing is known. Walks to come are taken for as long as those known."""
        known = [of for _, of in self._in_work.values()]
        walks = self.made + len(known)
        if not walks or not self.chunks or not passed:
            return None
        each = (self._chunks + sum(known)) / walks
        left = each * (self.total - self.done - len(known)) + sum(of - done for done, of in self._in_work.values())
        return passed * left / self.chunks

    def __str__(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        there = f", {self.there} there before" if self.there else ""
        chunks = f", {self.chunks:.0f} chunks" if self._counts_chunks else ""
        return f"{self.made} of {self.total - self.there} walks made{failed}{there}{chunks}"
