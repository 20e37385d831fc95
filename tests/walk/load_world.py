"""Saves a large world; or loads it, and prints the file's size and the bytes by which the process grew."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from hyworld import Trajectory, World
from hyworld.walk import Step, Words


def status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


def save(folder: Path) -> None:
    words = Words(torch.zeros(1, 512, 4096), "a street")
    latents = torch.randn(1, 48, 4, 44, 80)
    parts = Trajectory.from_tokens("w-79").split(4)
    steps = tuple(Step(latents.clone(), part, (), words) for part in parts)
    World(words.text, 0, (48, 44, 80), None, steps, words.prompt).save(folder / "large.world")
    World(words.text[:, :1], 0, (48, 44, 80), None, steps[:1]).save(folder / "small.world")


def load(folder: Path) -> None:
    World.load(folder / "small.world")  # what loading imports, and the buffers of its libraries
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    loaded = World.load(folder / "large.world")
    print((folder / "large.world").stat().st_size, status("VmHWM") - before)
    assert loaded.chunks == 20


{"save": save, "load": load}[sys.argv[1]](Path(sys.argv[2]))
