"""Who walks, who watches, what they are told and in which order; with a walk that only notes what it is asked."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any

import pytest
import torch

from hyworld import Chunk, Pipeline, World
from hyworld.camera import Speeds
from hyworld.camera.tokens import Motion
from hyworld.live import messages, show
from hyworld.live.controls import Held, LatentInput
from hyworld.live.member import MOST_CHUNKS, MOST_WAITING, Member
from hyworld.live.messages import GoBack, GoesOn, Input, Playing, Say, Stop
from hyworld.live.room import Room
from hyworld.live.walk import Made
from hyworld.walk import WORLDPLAY

from .browser import run
from .conftest import SIZE


class Walk:
    """Notes what it is asked."""

    can_tell = steers = True
    recipe = WORLDPLAY
    goes_on = False
    words = "a street"
    speeds = Speeds()
    state = "standing"

    def __init__(self, world: World) -> None:
        self.world = self.furthest = world
        self.asked: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments: self.asked.append((name, *arguments))


@pytest.fixture(scope="module")
def worlds(pipeline: Pipeline) -> list[World]:
    """Of 0 to 4 chunks."""
    world = pipeline.start(text="a street", size=SIZE)
    return [world, *(chunk.world for chunk in pipeline.walk(world, "w-15"))]


def made(world: World) -> Made:
    frames = torch.full((16, *SIZE, 3), 40 * world.chunks, dtype=torch.uint8)
    return Made(Chunk(world.chunks - 1, frames, world), (LatentInput(Motion(), ("w",), 1.0),) * 4, 0.1)


ROOMS: list[Room] = []


async def settle() -> None:
    """Until what other threads encode has come."""
    here = [room for room in ROOMS if room._loop is asyncio.get_running_loop()]
    for n in range(2000):
        await asyncio.sleep(0.01)
        if n >= 20 and not any(room._show._news for room in here if room._show is not None):
            return


async def told(member: Member) -> list[dict[str, Any]]:
    """All that waits."""
    await settle()
    found = []
    while member._waiting:
        message = await member.next()
        if isinstance(message, bytes):
            length = int.from_bytes(message[:4], "little")
            message = message[4 : 4 + length]
        found.append(json.loads(message))
    return found


def room_of(walk: Walk, **options: Any) -> Room:
    room = Room(asyncio.get_running_loop(), **options)
    ROOMS.append(room)
    room.opened(walk, heeds_words=True)
    return room


def test_the_first_walks_and_the_next_takes_over(worlds: list[World]):
    async def doing() -> None:
        walk = Walk(worlds[2])
        room = room_of(walk, place_kept=0.1)
        await settle()
        first, second = room.join("a"), room.join("b")
        assert (first.role, second.role) == ("walks", "watches")
        room.hear(second, Input(Held(1.0, ("w",)), 1000))
        room.hear(second, GoBack(0))
        assert walk.asked == []
        room.hear(first, Input(Held(1.0, ("w",)), 1000))
        room.hear(first, GoesOn(True))
        room.hear(first, Say("rain"))
        room.hear(first, GoBack(1))
        room.hear(first, Playing(3, 0.5))
        room.hear(first, Stop())
        assert walk.asked == [
            ("hold", Held(1.0, ("w",))),
            ("set_goes_on", True),
            ("say", "rain"),
            ("go_back", 1),
            ("playing", 3, 0.5),
            ("stop",),
        ]
        del walk.asked[:]
        room.leave(first)
        assert walk.asked == [("hold", Held(None))], "keys are released at once"
        assert second.role == "watches"
        assert not room.may_begin("b")
        await told(second)
        assert second.role == "walks"
        room.leave(second)
        await asyncio.sleep(0.2)
        assert walk.asked[-1] == ("set_goes_on", False), "nobody is left"
        assert room.may_begin("c")

    run(doing())


def test_the_place_is_kept_for_who_comes_back(worlds: list[World]):
    async def doing() -> None:
        room = room_of(Walk(worlds[2]), place_kept=60)
        await settle()
        first, other = room.join("a"), room.join("b")
        room.leave(first)
        assert room.join("c").role == "watches"
        assert room.join("a").role == "walks"
        assert other.role == "watches"

    run(doing())


def test_who_is_back_before_the_loss_is_known_walks_on(worlds: list[World]):
    async def doing() -> None:
        room = room_of(Walk(worlds[2]), place_kept=60)
        await settle()
        first, other, again = room.join("a"), room.join("b"), room.join("a")
        assert again.role == "watches"
        room.leave(first)
        assert (other.role, again.role) == ("watches", "walks")
        assert (await told(again))[-1]["role"] == "walks"

    run(doing())


def test_alone(worlds: list[World]):
    async def doing() -> None:
        room = room_of(Walk(worlds[0]))
        await asyncio.sleep(0.05)
        assert room.alone_for() > 0.04
        member = room.join("a")
        assert room.alone_for() == 0
        room.leave(member)
        await asyncio.sleep(0.05)
        assert 0.04 < room.alone_for() < 1

    run(doing())


def test_news_come_in_the_order_in_which_they_happened(worlds: list[World]):
    """From another thread, while pictures take their time."""

    async def doing() -> None:
        walk = Walk(worlds[0])
        room = room_of(walk)
        await settle()
        member = room.join("a")
        await told(member)

        def walking() -> None:
            for world in worlds[1:4]:
                room.working(world.chunks - 1, 4, 4)
                walk.world = walk.furthest = world
                room.made(made(world))
                room.changed()
                time.sleep(0.1)
            walk.world = worlds[1]
            room.stands(1, None)
            room.changed()
            room.note("a note")
            room.ended("over")

        thread = threading.Thread(target=walking)
        thread.start()
        found: list[dict[str, Any]] = []
        while not found or found[-1]["type"] != "ended":
            found += await told(member)
        thread.join()
        kinds = [
            (message["type"], message.get("chunk", message.get("chunks")))
            for message in found
            if message["type"] in ("chunk", "picture", "note", "ended")
            or (message["type"] == "state" and message["picture"])
        ]
        assert kinds == [
            ("chunk", 0),
            ("chunk", 1),
            ("chunk", 2),
            ("state", 1),
            ("picture", None),
            ("note", None),
            ("ended", None),
        ]
        assert [message["chunks"] for message in found if message["type"] == "state"][-1] == 1

        late = room.join("b")
        state, thumbnails, picture, ended = await told(late)
        assert (state["state"], state["chunks"], state["furthest"], len(state["path"])) == ("stopped", 1, 3, 12)
        assert len(thumbnails["pictures"]) == 3
        assert (picture["type"], ended["type"]) == ("picture", "ended")

    run(doing())


def test_a_slow_reader_waits_for_few_frames(worlds: list[World]):
    async def doing() -> None:
        walk = Walk(worlds[0])
        room = room_of(walk)
        await settle()
        member, room_member = room.join("a"), room.join("b")
        for _ in range(2):
            for world in worlds[1:]:
                room.made(made(world))
                room.changed()
                await settle()
        chunks = [message for message in await told(member) if message["type"] == "chunk"]
        assert [chunk["chunk"] for chunk in chunks] == [0, 1, 2, 3, 0, 1, 2, 3]
        assert [len(chunk["pictures"]) for chunk in chunks] == [0] * 6 + [16] * MOST_CHUNKS
        assert all(chunk["thumbnail"] for chunk in chunks)
        assert room_member.role == "watches"

    run(doing())


def test_who_reads_nothing_at_all_is_let_go():
    async def doing() -> None:
        member = Member("a")
        for number in range(MOST_WAITING + 1):
            member.tell(messages.note(str(number)))
        assert await member.next() is None
        member.tell(messages.note("more"))
        assert member._waiting == []

    run(doing())


def test_a_chunk_that_cannot_be_encoded_does_not_stop_the_news(worlds: list[World]):
    async def doing() -> None:
        room = room_of(Walk(worlds[0]))
        await settle()
        member = room.join("a")
        good = made(worlds[1])
        room.made(Made(Chunk(0, torch.zeros(16, *SIZE, 7, dtype=torch.uint8), worlds[1]), good.inputs, 0.1))
        room.made(made(worlds[2]))
        found = await told(member)
        assert [message["chunk"] for message in found if message["type"] == "chunk"] == [1]
        room.made(Made(Chunk(2, torch.zeros(16, *SIZE, 7, dtype=torch.uint8), worlds[3]), good.inputs, 0.1))
        room.ended("over")
        assert [message["type"] for message in await told(member)] == ["ended"]


def test_who_joins_a_long_walk_gets_the_newest_thumbnails(worlds: list[World], monkeypatch: pytest.MonkeyPatch):
    """All those of a night would be more messages than may wait for anybody."""
    monkeypatch.setattr(show, "THUMBNAILS_AT_ONCE", 1)
    monkeypatch.setattr(show, "MOST_THUMBNAILS", 2)

    async def doing() -> None:
        room = room_of(Walk(worlds[0]))
        await settle()
        for world in worlds[1:]:
            room.made(made(world))
        await settle()
        found = await told(room.join("a"))
        assert [message["first"] for message in found if message["type"] == "thumbnails"] == [2, 3]

    run(doing())

    run(doing())


def test_another_walk_is_shown_as_a_whole(worlds: list[World]):
    async def doing() -> None:
        first, second = Walk(worlds[0]), Walk(worlds[3])
        room = room_of(first)
        await settle()
        member = room.join("a")
        room.made(made(worlds[1]))
        room.opened(second, heeds_words=False)
        room.stands(3, None)
        state, *_ = found = await told(member)
        assert (state["chunks"], state["heeds_words"], len(state["path"])) == (3, False, 12)
        assert all(message["type"] != "chunk" for message in found)
        room.hear(member, GoesOn(True))
        assert second.asked == [("set_goes_on", True)]
        room.close()
        await settle()
        assert room.join("b")._gone
        while (await member.next()) is not None:
            pass

    run(doing())


def test_a_loop_that_is_gone_disturbs_no_walk(worlds: list[World]):
    loop = asyncio.new_event_loop()
    room = Room(loop)
    room.opened(Walk(worlds[0]), heeds_words=True)
    loop.close()
    room.changed()
    room.made(made(worlds[1]))
    room.ended()
