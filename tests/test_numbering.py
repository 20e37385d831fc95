"""Numbers that people read count from 1."""

from __future__ import annotations

import pytest

from hyworld.numbering import numbers


@pytest.mark.parametrize(
    ("indices", "read"),
    [((), "nothing"), ((0,), "1"), (range(16), "1-16"), ((0, 1, 2, 3, 8), "1-4, 9"), ((1, 3, 5), "2, 4, 6")],
)
def test_runs_are_written_with_their_ends(indices, read: str):
    assert numbers(indices) == read
