"""Loads a large world in a process of its own; prints the file's size and the bytes by which the process grew."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from hyworld import Trajectory, World
from hyworld.walk import Step, Words


def status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


def main() -> None:
    words = Words(torch.zeros(1, 512, 4096), "a street")
    path = Trajectory.from_tokens("w-79")
    latents = torch.randn(1, 48, 4, 44, 80)
    steps = tuple(Step(latents.clone(), part, (), words) for part in path.split(4))
    file = World(words.text, 0, (48, 44, 80), None, steps, words.prompt).save(Path(sys.argv[1]) / "large.world")
    World.load(World(words.text, 0, (48, 44, 80)).save(Path(sys.argv[1]) / "small.world"))  # what loading imports
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    loaded = World.load(file)
    print(file.stat().st_size, status("VmHWM") - before)
    assert loaded.chunks == 20


main()
