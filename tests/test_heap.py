"""Freed memory goes back to the system."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import hyworld
from hyworld import heap

pytestmark = pytest.mark.skipif(not heap._trim(), reason="this C library is not glibc")


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def in_pieces() -> list[torch.Tensor]:
    """Leaves 100 MB of freed memory below pieces in use."""
    blocks = [torch.ones(25_000) for _ in range(1000)]
    return blocks[1::25]


def test_what_lies_below_a_piece_in_use_is_given_back() -> None:
    kept = in_pieces()
    before = resident()
    heap.give_back()
    assert resident() < before - 50e6
    assert all(bool(piece.eq(1).all()) for piece in kept)


def test_a_chunk_on_a_cpu_gives_back() -> None:
    pipeline = hyworld.load(preset="tiny-random", device="cpu")
    walk = pipeline.walk(pipeline.start(size=(64, 96)), "w-15")
    next(walk)
    kept = in_pieces()
    before = resident()
    next(walk)
    assert resident() < before - 50e6
    assert len(kept) == 40


def test_elsewhere_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    heap._trim.cache_clear()
    try:
        assert heap._trim() is None
        heap.give_back()
    finally:
        monkeypatch.undo()
        heap._trim.cache_clear()
