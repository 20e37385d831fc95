"""Autosaves of walks that go back; of others: tests/cli/test_worlds.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hyworld import Chunk, Trajectory, World
from hyworld.walk import Step, Words
from hyworld.walk.autosave import Autosave


def onwards(world: World, value: float = 0.0) -> Chunk:
    """The next chunk, all of one number."""
    cameras = Trajectory.from_tokens("w-3")
    step = Step(torch.full((1, 2, 4, 2, 2), value), cameras, (), Words(world.text))
    return Chunk(world.chunks, None, world.and_then(step))


def walked(autosave: Autosave) -> World:
    """Three chunks, back to one, and one on another way: shorter than what is saved."""
    world = World(torch.zeros(1, 1, 4), 0, (2, 2, 2))
    for _ in range(3):
        chunk = onwards(world)
        world = chunk.world
        autosave.keep(chunk)
    other = onwards(world.at_chunk(1), 1.0)
    autosave.keep(other)
    return other.world


def test_the_way_taken_last_is_kept(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), Autosave(tmp_path / "a.world", every=2) as autosave:
        world = walked(autosave)
        raise KeyboardInterrupt
    assert World.load(tmp_path / "a.world") == world
    assert autosave.chunks == 2


@pytest.mark.parametrize(("every", "left"), [(2, ["a.world"]), (4, [])])
def test_what_it_keeps_when_all_went_well(tmp_path: Path, every: int, left: list[str]):
    with Autosave(tmp_path / "a.world", every=every, keeps=True) as autosave:
        world = walked(autosave)
    assert [file.name for file in tmp_path.iterdir()] == left
    if left:
        assert World.load(tmp_path / "a.world") == world
