"""A live walk: the world that a person's keys make, and every way to go elsewhere in it."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from hyworld import InputError, Pipeline, Trajectory, World
from hyworld.camera import Speeds
from hyworld.camera.tokens import motion_of
from hyworld.live.controls import LatentInput
from hyworld.live.pacing import LEAD
from hyworld.live.walk import LiveWalk
from hyworld.walk import reconstituted
from hyworld.walk.world import told_by_chunk

from .conftest import Walk, held


def again(pipeline: Pipeline, start: World, world: World) -> World:
    """The same path and prompts walked without a keyboard."""
    parts = world.path.split(4)[start.chunks :]
    for chunk in pipeline.walk(start, parts, prompts=told_by_chunk(world)):
        start = chunk.world
    return start


def off(picture: Image.Image, frame: torch.Tensor) -> int:
    """Levels by which a picture and a frame differ at most."""
    return int(np.abs(np.asarray(picture).astype(int) - frame.numpy()).max())


def in_turn(*actions: Callable[[], None]) -> Callable[[], None]:
    def act() -> None:
        for action in actions:
            action()

    return act


@pytest.mark.usefixtures("quick")
def test_the_recorded_path_and_prompts_walked_again_are_the_same_world(pipeline: Pipeline):
    walk = Walk(pipeline)
    world = walk.run(
        {
            0: walk.hold("w"),
            1: walk.hold("w", "right"),
            2: in_turn(lambda: walk.live.say("it rains"), walk.hold(move=(0.3, 0.6), turn=(-0.2, 0.4))),
            3: walk.hold("orbit_left"),
            4: lambda: None,
        }
    )
    assert world.chunks == 4
    assert told_by_chunk(world) == {0: "a street", 2: "it rains"}
    assert again(pipeline, walk.start, world) == world
    saved = Trajectory.from_json(json.loads(json.dumps(world.path.to_json())))
    *_, last = pipeline.walk(walk.start, saved, prompts=told_by_chunk(world))
    assert last.world == world
    assert walk.chunks[-1].chunk.world == world
    assert [made.chunk.index for made in walk.chunks] == [0, 1, 2, 3]
    assert [len(made.chunk.frames) for made in walk.chunks] == [13, 16, 16, 16]


@pytest.mark.usefixtures("quick")
def test_the_camera_does_what_the_keys_say(pipeline: Pipeline):
    walk = Walk(pipeline)
    world = walk.run({0: walk.hold("w"), 1: walk.hold("w"), 2: lambda: None})
    assert world.path.c2w[:, 2, 3] == pytest.approx([0.08 * n for n in range(8)])
    assert list(world.path.labels) == [0] + [9] * 7
    assert [given.keys for given in walk.chunks[0].inputs] == [(), ("w",), ("w",), ("w",)]
    assert walk.chunks[0].seconds > 0


@pytest.mark.usefixtures("quick")
def test_an_orbit_is_labelled_as_its_turn_and_walking_beside_it_as_walking(pipeline: Pipeline):
    walk = Walk(pipeline)
    world = walk.run({0: walk.hold("orbit_left"), 1: in_turn(walk.hold("w"), walk.live._controls.stand), 2: list})
    assert list(world.path.labels) == [0, 2, 2, 2, 9, 9, 9, 9]


def test_standing_still_computes_nothing_and_asks_on_wait(pipeline: Pipeline):
    waits: list[float] = []

    def wait() -> None:
        waits.append(time.monotonic())
        if len(waits) > 6:
            walk.live.stop()

    walk = Walk(pipeline, on_wait=wait)
    assert walk.run({0: lambda: None, 1: lambda: None}) == walk.start
    assert walk.chunks == walk.work == []
    assert max(b - a for a, b in itertools.pairwise(waits)) < 2
    assert [state for state, *_ in walk.seen] == ["standing", "stopped"]


def test_letting_go_ends_in_standing_still(pipeline: Pipeline):
    pressed = time.monotonic()

    def wait() -> None:
        if time.monotonic() > pressed + 0.5:
            walk.live.hold(held())
        if walk.chunks and walk.live.state == "standing":
            walk.live.stop()

    walk = Walk(pipeline, on_wait=wait)
    world = walk.run({0: walk.hold("w"), 9: lambda: None})
    keys = ["".join(given.keys) for made in walk.chunks for given in made.inputs][1:]
    assert 1 <= world.chunks < 9
    assert keys == sorted(keys, reverse=True)  # first held, then no more
    assert ("standing", world.chunks, "a street") in walk.seen
    assert walk.seen[-1][0] == "stopped"


@pytest.mark.usefixtures("quick")
def test_with_time_going_on_the_world_goes_on_by_itself(pipeline: Pipeline):
    walk = Walk(pipeline, goes_on=True)
    world = walk.run({2: lambda: walk.live.set_goes_on(False)})
    assert world.chunks == 2
    assert (world.path.c2w == world.path.c2w[0]).all()
    assert not walk.live.goes_on


@pytest.mark.usefixtures("quick")
def test_going_back_and_taking_another_way(pipeline: Pipeline):
    walk = Walk(pipeline)
    lines: list[World] = []

    def back() -> None:
        lines.append(walk.live.world)
        walk.live.hold(held("left"))
        walk.live.go_back(1)

    world = walk.run({0: walk.hold("w"), 3: back, 4: lambda: lines.append(walk.live.furthest), 5: lambda: None})
    assert [made.chunk.index for made in walk.chunks] == [0, 1, 2, 1, 2]
    assert [chunks for chunks, _ in walk.stood] == [0, 1]
    assert world.chunks == 3
    assert world.history[0] is lines[0].history[0]
    assert world != lines[0]
    assert lines[1].chunks == 2  # the other way is gone with the first chunk of this one
    assert again(pipeline, walk.start, world) == world


@pytest.mark.usefixtures("quick")
def test_forward_again_until_another_way_was_taken(pipeline: Pipeline):
    walk = Walk(pipeline)
    places = [1, 0, 3]
    lines: list[World] = []

    def wait() -> None:
        if len(walk.chunks) == 3 and walk.live.state == "standing":
            if len(lines) < 4:
                lines.append(walk.live.world)
            assert walk.live.furthest.chunks == 3
            if places:
                walk.live.go_back(places.pop(0))
            else:
                walk.live.hold(held("d"))

    walk.live._on_wait = wait
    world = walk.run({0: walk.hold("w"), 3: in_turn(walk.hold(), lambda: walk.live.go_back(3)), 4: lambda: None})
    assert [line.chunks for line in lines] == [3, 1, 0, 3]
    assert world.chunks == 4
    assert world.at_chunk(3) == walk.chunks[2].chunk.world
    assert again(pipeline, walk.start, world) == world


def test_a_place_that_was_not_walked_is_refused(pipeline: Pipeline):
    walk = Walk(pipeline)
    for chunks in (-1, 1):
        with pytest.raises(InputError, match="has 0 chunks"):
            walk.live.go_back(chunks)


@pytest.mark.usefixtures("quick")
def test_going_back_drops_the_chunk_in_work(pipeline: Pipeline):
    walk = Walk(pipeline)

    def working(chunk: int, step: int, steps: int) -> None:
        walk.work.append((chunk, step))
        if (chunk, step) == (1, 2) and not walk.stood[1:]:
            walk.live.go_back(0)

    walk.working = working
    walk.run({0: walk.hold("w"), 2: lambda: None})
    assert [made.chunk.index for made in walk.chunks] == [0, 0]
    assert walk.work == [(0, n) for n in range(5)] + [(1, n) for n in range(3)] + [(0, n) for n in range(5)]
    assert walk.chunks[0].chunk.world == walk.chunks[1].chunk.world  # the same noise, held the same


@pytest.mark.usefixtures("quick")
def test_stop_ends_within_a_step_and_keeps_what_was_walked(pipeline: Pipeline):
    walk = Walk(pipeline)

    def working(chunk: int, step: int, steps: int) -> None:
        walk.work.append((chunk, step))
        if (chunk, step) == (1, 2):
            walk.live.stop()

    walk.working = working
    world = walk.run({0: walk.hold("w"), 9: lambda: None})
    assert walk.work[-1] == (1, 2)
    assert world.chunks == 1
    assert walk.live.state == "stopped"
    assert again(pipeline, walk.start, world) == world


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("where", ["on_wait", "on_progress"])
def test_the_hosts_cancel_ends_it_and_keeps_what_was_walked(pipeline: Pipeline, where: str):
    class CancelError(Exception):
        pass

    def cancel(*_: object) -> None:
        if walk.chunks:
            raise CancelError

    walk = Walk(pipeline, **{where: cancel})
    with pytest.raises(CancelError):
        walk.run({0: walk.hold("w"), 9: lambda: None})
    assert walk.live.world.chunks == 1
    assert walk.live.world == walk.chunks[0].chunk.world
    assert walk.live.state == walk.seen[-1][0] == "stopped"


@pytest.mark.usefixtures("quick")
def test_words_hold_from_the_next_chunk_on_and_go_with_their_place(pipeline: Pipeline):
    walk = Walk(pipeline)
    words: list[str] = []

    def back() -> None:
        words.append(walk.live.words)
        walk.live.go_back(1)

    def keep() -> None:
        words.append(walk.live.words)

    walk.live.say("it rains")
    assert walk.live.words == "it rains"
    walk.run({0: walk.hold("w"), 1: lambda: walk.live.say("it snows"), 2: back, 3: keep})
    assert words == ["it snows", "it snows"]  # back where it was told to snow
    assert told_by_chunk(walk.live.world) == {0: "it rains", 1: "it snows"}


@pytest.mark.usefixtures("quick")
def test_words_said_while_standing_are_in_the_world_at_once(pipeline: Pipeline):
    def wait() -> None:
        if walk.live.world.prompt == "a street":
            walk.live.say("it rains")
        else:
            walk.live.stop()

    walk = Walk(pipeline, on_wait=wait)
    world = walk.run({9: lambda: None})
    assert (world.prompt, world.chunks, walk.live.furthest.prompt) == ("it rains", 0, "it rains")


@pytest.mark.usefixtures("quick")
def test_words_that_cannot_be_told_are_noted_and_the_walk_goes_on(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    def refuse(text: str) -> torch.Tensor:
        raise InputError("The prompt is too long.")

    walk = Walk(pipeline)
    monkeypatch.setattr(pipeline, "encode_text", refuse)
    walk.run({0: walk.hold("w"), 1: lambda: walk.live.say("it rains"), 2: lambda: None})
    assert walk.notes == ["The prompt is too long."]
    assert walk.live.world.chunks == 2
    assert walk.live.words == "a street"
    monkeypatch.setattr(pipeline, "encode_text", None)
    assert not walk.live.can_tell
    with pytest.raises(InputError, match="needs a text encoder"):
        walk.live.say("it rains")


@pytest.mark.usefixtures("quick")
def test_a_world_walked_before_shows_where_it_ended_and_goes_on_from_there(pipeline: Pipeline):
    first = Walk(pipeline)
    start = first.run({0: first.hold("w"), 2: lambda: None})
    walk = Walk(pipeline, start)
    world = walk.run({0: walk.hold("right"), 1: lambda: walk.live.go_back(1), 2: lambda: walk.live.go_back(2), 3: list})
    assert [made.chunk.index for made in walk.chunks] == [2, 1, 2]
    assert world.at_chunk(1) == start.at_chunk(1)
    (two, last), (one, before), (_, known) = walk.stood
    assert (two, one) == (2, 1)
    assert off(last, first.chunks[1].chunk.frames[-1]) == 0
    assert off(before, first.chunks[0].chunk.frames[-1]) == 0
    assert known is None  # the second chunk there came by `made`
    assert again(pipeline, start.at_chunk(1), world) == world


@pytest.mark.usefixtures("quick")
def test_a_place_chosen_before_the_walk_is_where_it_begins(pipeline: Pipeline):
    first = Walk(pipeline)
    start = first.run({0: first.hold("w"), 2: lambda: None})
    walk = Walk(pipeline, start)
    walk.live.go_back(1)
    walk.run({0: walk.hold("left"), 1: lambda: None})
    assert [chunks for chunks, _ in walk.stood] == [1]
    assert [made.chunk.index for made in walk.chunks] == [1]


@pytest.mark.usefixtures("quick")
def test_a_new_world_shows_its_first_frame(pipeline: Pipeline):
    latent = torch.randn(1, 24, 1, 4, 6, generator=torch.Generator().manual_seed(1))
    walk = Walk(pipeline, pipeline.start(latent, "a street"))
    walk.run({0: walk.hold("w"), 1: lambda: None})
    ((chunks, picture),) = walk.stood
    assert chunks == 0
    assert off(picture, walk.chunks[0].chunk.frames[0]) <= 1
    text = Walk(pipeline)
    text.run({0: text.hold("w"), 1: lambda: None})
    assert text.stood == [(0, None)]


def test_a_world_of_another_model_is_refused_at_once(pipeline: Pipeline):
    walk = Walk(pipeline)
    with pytest.raises(InputError, match="latent channels"):
        LiveWalk(pipeline, World(torch.zeros(1, 64, 64), 0, (48, 4, 6)), walk)


def test_chunks_follow_each_other_at_the_pace_of_their_play(pipeline: Pipeline):
    walk = Walk(pipeline)
    made: list[float] = []

    def keep() -> None:
        made.append(time.monotonic())

    walk.run({0: walk.hold("w"), 1: keep, 2: keep, 3: keep, 4: keep})
    asked = [at - chunk.seconds for at, chunk in zip(made, walk.chunks, strict=True)]
    assert asked[1] < max(made[0], made[0] + 13 / 16 - LEAD - walk.chunks[0].seconds) + 0.3  # in time
    assert made[3] - made[0] > 2.0  # and not all at once


def test_another_thread_steers(pipeline: Pipeline):
    """Press, let go and stop from outside, with the time stamps of a clock that is not ours."""
    walk = Walk(pipeline)
    walk.then = {99: lambda: None}
    thread = threading.Thread(target=walk.live.run)
    thread.start()
    walk.live.hold(held("w"))
    deadline = time.monotonic() + 20
    while not walk.chunks and time.monotonic() < deadline:
        time.sleep(0.01)
    walk.live.playing(0, 0.8)
    walk.live.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert walk.live.world.chunks == len(walk.chunks) >= 1


def test_what_stays_held_is_foreseen(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    """The memory of the next chunk is chosen before it is asked for, and is the one it would have chosen."""
    walk = Walk(pipeline, speeds=Speeds(move=0.07))
    walk.live._inputs = (LatentInput(motion_of(("w",), walk.live.speeds)),)
    first, _, turning = Trajectory.from_tokens("w-7, w+right-4", walk.live.speeds).split(4)
    chosen: list[int] = []
    select = reconstituted.select_memory_frames
    monkeypatch.setattr(
        reconstituted, "select_memory_frames", lambda *given: (chosen.append(len(given[0])), select(*given))[1]
    )
    parts = iter([first, walk.live._foresee(first), turning])
    *_, last = pipeline.walk(walk.start, parts, foresee=walk.live._foresee)
    assert chosen == [4, 8, 12, 12, 16], "the third chunk alone is another than foreseen"
    monkeypatch.undo()
    assert again(pipeline, walk.start, last.world) == last.world
