"""Walks that several processes share are those of one process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from hyworld.parallel.shares import counts, span

sys.path.insert(0, str(Path(__file__).parent))
import processes
import walks


def test_shares_are_even_and_whole():
    assert counts(9, 4) == [3, 2, 2, 2]
    assert [list(range(9))[span(9, 4, rank)] for rank in range(4)] == [[0, 1, 2], [3, 4], [5, 6], [7, 8]]


@pytest.fixture(scope="module")
def alone() -> walks.Walked:
    return walks.walks()


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 4])
def test_several_processes_walk_as_one(tmp_path: Path, alone: walks.Walked, ranks: int):
    """Twice, bit for bit the same; 9 tokens and 6 rows are shared unevenly by 4."""
    saved = tmp_path / "walked.pt"
    assert processes.run(ranks, Path(walks.__file__), saved, *(["some"] if ranks > 2 else [])) == [0] * ranks
    shared = torch.load(saved)
    assert shared.keys() == alone.keys() or (ranks > 2 and len(shared) == 2 * len(("compact", "tiny", *walks.SOME)))
    for name, several in shared.items():
        one = alone[name]
        assert several.shape == one.shape, name
        if one.dtype == torch.uint8:
            # A level is 1/255: sums in another order move some values across its border.
            assert (several.int() - one.int()).abs().max() <= 1, name
            assert (several != one).float().mean() < 1e-3, name
        else:
            assert (several - one).norm() / one.norm() < 1e-5, name
