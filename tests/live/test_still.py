"""Live walks with models that follow no camera: words alone, chunks of other lengths, a path that stands still."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hyworld import Pipeline, World
from hyworld.live.recording import Recording
from hyworld.live.room import Room
from hyworld.live.walk import LiveWalk
from hyworld.video import VideoWriter
from hyworld.walk.world import told_by_chunk

from .browser import run
from .conftest import STILL_SIZE, Walk
from .test_recording import shown
from .test_walk import off

pytestmark = pytest.mark.usefixtures("quick")


def again(pipeline: Pipeline, start: World, world: World) -> World:
    """As far, with the same prompts, walked without a live walk."""
    for chunk in pipeline.walk(start, None, world.chunks - start.chunks, prompts=told_by_chunk(world)):
        start = chunk.world
    return start


def test_time_goes_on_from_the_start_and_words_hold_from_the_next_chunk_on(still: Pipeline):
    walk = Walk(still)
    assert (walk.live.steers, walk.live.goes_on) == (False, True)
    world = walk.run({2: lambda: walk.live.say("it rains"), 4: lambda: None})
    assert told_by_chunk(world) == {0: "a street", 2: "it rains"}
    assert again(still, walk.start, world) == world
    assert [len(made.chunk.frames) for made in walk.chunks] == [9, 12, 12, 12]
    assert (world.path.c2w == np.eye(4)).all()


def test_standing_still_until_something_is_held_which_moves_nothing(still: Pipeline):
    walk = Walk(still, goes_on=False)
    world = walk.run({0: walk.hold("w", "right"), 2: walk.hold(turn=(1.0, 0.0)), 3: lambda: None})
    assert (world.path.c2w == np.eye(4)).all()
    assert all(given.idle for made in walk.chunks for given in made.inputs)
    assert [len(made.inputs) for made in walk.chunks] == [3, 3, 3]
    assert again(still, walk.start, world) == world


def test_letting_go_and_the_switch_stop_time(still: Pipeline):
    walk = Walk(still)

    def wait() -> None:
        if walk.chunks and walk.live.state == "standing":
            walk.live.stop()

    walk.live._on_wait = wait
    assert walk.run({2: lambda: walk.live.set_goes_on(False), 9: lambda: None}).chunks == 2


def test_going_back_and_telling_something_else(still: Pipeline):
    walk = Walk(still)
    world = walk.run({4: lambda: walk.live.go_back(1), 5: lambda: walk.live.say("it snows"), 7: lambda: None})
    assert [made.chunk.index for made in walk.chunks] == [0, 1, 2, 3, 1, 2, 3]
    assert told_by_chunk(world) == {0: "a street", 2: "it snows"}
    assert world.history[:2] == walk.chunks[3].chunk.world.history[:2]
    assert again(still, walk.start, world) == world


def test_on_in_a_saved_world(still: Pipeline, tmp_path: Path):
    first = Walk(still)
    saved = World.load(first.run({2: lambda: None}).save(tmp_path / "walk.world"))
    walk = Walk(still, saved)
    world = walk.run({1: lambda: None})
    assert [chunks for chunks, _ in walk.stood] == [2]
    assert off(walk.stood[0][1], first.chunks[1].chunk.frames[-1]) == 0
    assert world == again(still, first.start, world)


def test_a_latent_at_a_time_from_a_picture(framewise: Pipeline):
    picture = torch.randn(1, 16, 1, 4, 6, generator=torch.Generator().manual_seed(1))
    walk = Walk(framewise, framewise.start(picture, "a street", seed=3))
    world = walk.run({3: lambda: None})
    assert [len(made.chunk.frames) for made in walk.chunks] == [1, 4, 4]
    assert off(walk.stood[0][1], walk.chunks[0].chunk.frames[0]) <= 1
    assert again(framewise, walk.start, world) == world


def test_the_next_chunk_is_due_by_the_models_own_frame_rate(still: Pipeline, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(still.walker, "recipe", replace(still.walker.recipe, frames_per_second=24))
    walk = Walk(still)
    plays: list[float] = []
    monkeypatch.setattr(walk.live._pacing, "made", lambda chunk, play, *when: plays.append(play))
    walk.run({2: lambda: None})
    assert plays == [9 / 24, 12 / 24]


def test_the_video_without_what_was_left(still: Pipeline, tmp_path: Path):
    walk = Walk(still)
    keep = walk.made
    with VideoWriter(tmp_path / "walk.mp4", *STILL_SIZE) as video, Recording(video, walk.start) as recording:
        walk.made = lambda made: (recording.add(made), keep(made))
        world = walk.run({3: lambda: walk.live.go_back(1), 4: lambda: None})
        recording.finish(world)
    assert len(shown(tmp_path / "walk.mp4")) == world.video_frames == 21


class Watched:
    """A room's walk that does not run."""

    def __init__(self, pipeline: Pipeline, loop: asyncio.AbstractEventLoop) -> None:
        self.room = Room(loop, place_kept=0.01)
        self.walk = LiveWalk(pipeline, pipeline.start(text="a street"), self.room)


async def state_of(member: Any) -> dict[str, Any]:
    message = await asyncio.wait_for(member.next(), 5)
    assert isinstance(message, str)
    return dict(json.loads(message))


def test_time_waits_for_the_first_who_walks(still: Pipeline):
    async def visit() -> None:
        watched = Watched(still, asyncio.get_running_loop())
        watched.room.opened(watched.walk, heeds_words=True)
        await asyncio.sleep(0.01)
        assert not watched.walk.goes_on
        watched.room.join("ann")
        assert watched.walk.goes_on
        watched.walk.set_goes_on(False)
        watched.room.join("ben")
        assert not watched.walk.goes_on

    run(visit())


def test_with_somebody_there_time_goes_on_at_once(still: Pipeline):
    async def visit() -> None:
        watched = Watched(still, asyncio.get_running_loop())
        watched.room.join("ann")
        watched.room.opened(watched.walk, heeds_words=True)
        await asyncio.sleep(0.01)
        assert watched.walk.goes_on

    run(visit())


def test_the_view_is_told_what_the_model_is(still: Pipeline, pipeline: Pipeline):
    async def visit(of: Pipeline, told: dict[str, Any]) -> None:
        watched = Watched(of, asyncio.get_running_loop())
        watched.room.opened(watched.walk, heeds_words=True)
        await asyncio.sleep(0.01)
        state = await state_of(watched.room.join("ann"))
        assert told.items() <= state.items()

    run(visit(still, {"steers": False, "chunk_latents": 3, "takes_picture": False}))
    run(visit(pipeline, {"steers": True, "chunk_latents": 4, "takes_picture": True}))
