"""How a count is shared by processes: as evenly as it goes, the first ones have one more."""

from __future__ import annotations


def counts(total: int, ranks: int) -> list[int]:
    """What each process has of `total`."""
    return [total // ranks + (rank < total % ranks) for rank in range(ranks)]


def span(total: int, ranks: int, rank: int) -> slice:
    """The place of what process `rank` has."""
    each = counts(total, ranks)
    return slice(sum(each[:rank]), sum(each[: rank + 1]))
