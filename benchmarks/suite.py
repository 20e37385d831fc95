"""The setups that docs/benchmarks.md reports."""

from __future__ import annotations

from hyworld.bench.measure import FLAT_CHUNKS, FLAT_REACH
from hyworld.bench.workload import Setup
from hyworld.config import WAN_5B, Preset
from hyworld.modes import Modes

LONG = FLAT_CHUNKS[1] + FLAT_REACH + 2
"""Chunks of the walk that measures flatness."""

SMALLER = (480, 832)
SMALLER_TINY = (96, 160)


def suite(preset: Preset, chunks: int) -> list[Setup]:
    """The exact mode comes first, so that its cold start is the process's."""
    size, smaller = preset.size, SMALLER if preset is WAN_5B else SMALLER_TINY
    return [
        Setup(size, LONG),
        Setup(size, chunks, Modes(kernels="plain")),
        Setup(size, chunks, Modes(kv="fast")),
        Setup(size, chunks, Modes(graphs="off")),
        Setup(size, chunks, Modes(linears="fp8")),
        Setup(size, chunks, Modes(linears="fp8"), decoder="tiny"),
        Setup(smaller, chunks),
        Setup(smaller, chunks, Modes(linears="fp8"), decoder="tiny"),
    ]
