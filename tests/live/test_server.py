"""The page's server: walking over a real socket, saving, loading, beginning again, reload."""

from __future__ import annotations

import asyncio
import io
import socket
import time
from pathlib import Path

import av
import pytest
import torch
from PIL import Image

from hyworld import InputError, Pipeline, World, video
from hyworld.live.files import page_files
from hyworld.walk import file
from hyworld.walk.file import thumbnail

from .browser import first_world, form, playing, png, run
from .conftest import SIZE

LOUD = {"Content-Type": "application/octet-stream"}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Autosave writes there."""
    monkeypatch.chdir(tmp_path)


def frames_of(mp4: bytes) -> int:
    with av.open(io.BytesIO(mp4)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_key_held_makes_chunks_and_they_are_the_world(pipeline: Pipeline):
    async def doing() -> None:
        async with playing(pipeline) as played, played.browser() as browser, browser.page() as page:
            assert page.state["role"] == "walks"
            assert page.state["size"] == list(SIZE)
            assert page.state["path"] == []
            still = await page.told("picture")
            assert Image.open(io.BytesIO(still["data"])).size == (96, 64)
            await page.hold("w", "left")
            assert (await page.told("heard"))["at"] > 0
            first, second = await page.told("chunk"), await page.told("chunk")
            assert (first["chunk"], second["chunk"]) == (0, 1)
            assert (len(first["pictures"]), len(second["pictures"])) == (13, 16)
            assert len(second["path"]) == 4
            assert second["inputs"][3]["keys"] == ["w", "left"]
            assert sum(second["pictures"]) + second["thumbnail"] == len(second["data"])
            await page.hold()
            await page.told("state", lambda state: state["state"] == "standing")
            chunks = page.state["chunks"]

            status, mp4 = await browser.get("/video")
            assert status == 200
            assert frames_of(mp4) == 16 * chunks - 3
            status, saved = await browser.get("/world")
            assert status == 200
            Path("saved.world").write_bytes(saved)
            world = World.load("saved.world")
            assert world == played.walking.world
            assert thumbnail("saved.world") is not None
            start = first_world(pipeline)
            for chunk in pipeline.walk(start, world.path.split(4)):
                start = chunk.world
            assert start == world

    run(doing())


def test_the_video_of_a_walk_that_is_being_walked(pipeline: Pipeline):
    async def doing() -> None:
        async with playing(pipeline) as played, played.browser() as browser, browser.page() as page:
            status, answer = await browser.get("/video")
            assert status == 400
            assert b"Nothing has been walked" in answer
            await page.say("goes_on", on=True)
            for _ in range(2):
                await page.told("chunk")
            before = page.state["chunks"]
            assert played.walking.world is not None
            status, mp4 = await browser.get("/video")
            assert status == 200
            assert frames_of(mp4) >= 16 * before - 3
            assert frames_of(mp4) % 16 == 13
            assert page.state["state"] == "computing"
            await page.told("chunk")

    run(doing())


def test_saving_holds_up_neither_keys_nor_walk(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    """A disk that takes four seconds."""

    def slowly(function):
        def called(*arguments, **options):
            time.sleep(4)
            return function(*arguments, **options)

        return called

    async def doing() -> None:
        async with playing(pipeline, autosave=0) as played, played.browser() as browser, browser.page() as page:
            await page.say("goes_on", on=True)
            await page.told("chunk")
            monkeypatch.setattr(video, "write_ordinary", slowly(video.write_ordinary))
            monkeypatch.setattr(file, "save", slowly(file.save))
            saves = asyncio.gather(browser.get("/video"), browser.get("/world"))
            await asyncio.sleep(0.5)
            chunks = 0
            while not saves.done():
                await page.say("input", at=time.monotonic() * 1000)
                heard = await page.told("heard")
                assert time.monotonic() - heard["at"] / 1000 < 2
                chunks += (await page.told("chunk"))["type"] == "chunk"
            assert chunks >= 2
            assert [status for status, _ in await saves] == [200, 200]

    run(doing())


def test_the_video_is_encoded_quickly(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    encode, presets = video.encode_chunk, []

    def noted(frames, *, options, **more):
        presets.append(options["preset"])
        return encode(frames, options=options, **more)

    monkeypatch.setattr(video, "encode_chunk", noted)

    async def doing() -> None:
        async with playing(pipeline) as played, played.browser() as browser, browser.page() as page:
            await page.walk(1)
            assert frames_of((await browser.get("/video"))[1]) >= 13

    run(doing())
    assert set(presets) == {"superfast"}


def test_going_back_shows_the_place_and_the_video_ends_there(pipeline: Pipeline):
    async def doing() -> None:
        async with playing(pipeline) as played, played.browser() as browser, browser.page() as page:
            await page.hold("w")
            third = await page.told("chunk", lambda chunk: chunk["chunk"] == 2)
            await page.hold()
            await page.told("state", lambda state: state["state"] == "standing")
            furthest = page.state["chunks"]
            await page.say("back", chunks=3)
            await page.told("state", lambda state: state["chunks"] == 3)
            assert page.state["furthest"] == furthest
            last = third["data"][sum(third["pictures"][:-1]) : sum(third["pictures"])]
            assert (await page.told("picture"))["data"] == last
            assert frames_of((await browser.get("/video"))[1]) == 45
            await page.hold("s")
            again = await page.told("chunk")
            assert again["chunk"] == 3
            assert page.state["chunks"] <= 4
            await page.hold()
            assert played.walking.world is not None

    run(doing())


def test_another_walk_with_a_picture_words_and_a_seed(pipeline: Pipeline):
    async def doing() -> None:
        async with playing(pipeline) as played, played.browser() as browser, browser.page() as page:
            await page.walk(1)
            own = form(words="a färm", seed=str(2**64 - 1), picture=png())
            assert await browser.post("/begin", own) == (200, {"chunks": 0})
            await page.told("state", lambda state: state["chunks"] == 0 and "path" in state)
            assert page.state["seed"] == str(2**64 - 1)
            assert page.state["words"] == "a färm"
            assert page.state["path"] == []
            await page.told("picture")
            world = played.walking.world
            assert world is not None
            expected = pipeline.start(Image.open(io.BytesIO(png())), "a färm", seed=2**64 - 1, size=SIZE)
            assert world == expected
            assert (await browser.post("/begin", form(scene="2", seed="1")))[0] == 200
            await page.told("state", lambda state: state["seed"] == "1")
            assert (await page.told("picture"))["data"]
            await page.hold("w")
            assert (await page.told("chunk"))["chunk"] == 0

    run(doing())


def test_a_saved_world_is_loaded_and_walked_on_in(pipeline: Pipeline, tmp_path: Path):
    saved = pipeline.start(text="a street", seed=8, size=SIZE)
    for chunk in pipeline.walk(saved, "w-7"):
        saved = chunk.world
    saved.save(tmp_path / "two.world")

    async def doing() -> None:
        async with playing(pipeline) as played, played.browser() as browser, browser.page() as page:
            sent = (tmp_path / "two.world").read_bytes()
            assert await browser.post("/world", sent, headers=LOUD) == (200, {"chunks": 2})
            await page.told("state", lambda state: state["chunks"] == 2)
            assert len(page.state["path"]) == 8
            assert played.walking.world == saved
            await page.told("picture")
            await page.hold("d")
            assert (await page.told("chunk"))["chunk"] == 2
            await page.hold()
            await page.told("state", lambda state: state["state"] == "standing")
            world = played.walking.world
            assert world is not None
            assert world.at_chunk(2) == saved

    run(doing())


def test_a_reload_finds_the_walk_and_the_place(pipeline: Pipeline):
    async def doing() -> None:
        async with playing(pipeline, place_kept=30) as played, played.browser() as browser:
            async with browser.page() as page:
                await page.walk(2)
                chunks = page.state["chunks"]
            async with played.browser() as other, other.page() as watching:
                assert watching.state["role"] == "watches", "the place is kept"
                async with browser.page() as page:
                    assert page.state["role"] == "walks"
                    assert page.state["chunks"] == chunks
                    assert len(page.state["path"]) == 4 * chunks
                    thumbnails = await page.told("thumbnails")
                    assert thumbnails["first"] == 0
                    assert len(thumbnails["pictures"]) == chunks
                    assert all(thumbnails["pictures"])
                    await page.told("picture")

    run(doing())


def test_one_walks_another_watches_and_takes_over(pipeline: Pipeline):
    async def doing() -> None:
        async with (
            playing(pipeline) as played,
            played.browser() as first,
            played.browser() as second,
            second_after_first(first, second) as (page, watching),
        ):
            assert (page.state["role"], watching.state["role"]) == ("walks", "watches")
            await watching.hold("s")
            await watching.say("back", chunks=0)
            assert "Somebody else walks" in (await watching.told("error"))["text"]
            assert (await second.post("/begin", form(scene="1")))[0] == 403
            assert (await second.post("/world", b"x", headers=LOUD))[0] == 403
            await page.hold("w")
            seen = await watching.told("chunk")
            assert seen["inputs"][3]["keys"] == ["w"], "what the walker holds"
            await page.socket.close()
            await watching.told("state", lambda state: state["role"] == "walks")
            await watching.told("state", lambda state: state["state"] == "standing")
            await watching.hold("s")
            chunk = await watching.told("chunk", lambda chunk: chunk["inputs"][3]["keys"] == ["s"])
            assert chunk["pictures"]

    run(doing())


class second_after_first:  # noqa: N801 - read as a phrase
    """Two pages, opened in this order."""

    def __init__(self, first, second) -> None:
        self.pages = first.page(), second.page()

    async def __aenter__(self):
        return await self.pages[0].__aenter__(), await self.pages[1].__aenter__()

    async def __aexit__(self, *error: object) -> None:
        for page in self.pages:
            await page.__aexit__(*error)


def test_a_lost_socket_releases_the_keys(pipeline: Pipeline):
    async def doing() -> None:
        async with playing(pipeline, place_kept=0.2) as played, played.browser() as browser:
            async with browser.page() as page:
                await page.say("goes_on", on=True)
                await page.hold("w")
                await page.told("chunk")
            await asyncio.sleep(1.0)
            walk = played.walking._here.walk
            assert not walk.goes_on, "nobody is there"
            async with browser.page() as page:
                if page.state["state"] != "standing":
                    await page.told("state", lambda state: state["state"] == "standing")

    run(doing())


def test_the_next_free_port(pipeline: Pipeline):
    async def doing() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            async with playing(pipeline, port=port) as played, played.browser():
                assert port < played.port < port + 20

    run(doing())


@pytest.mark.parametrize("host", ["nowhere.invalid", "203.0.113.7"])
def test_a_host_that_is_not_here(pipeline: Pipeline, host: str):
    async def doing() -> None:
        async with playing(pipeline, host=host):
            pass

    with pytest.raises(InputError, match="host"):
        run(doing())


def test_an_error_in_a_walk_is_told_and_the_walk_goes_on(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    decode, broken = pipeline.walker.decoding.decode, [True]

    def once(*arguments):
        if broken and arguments[0].chunks == 1:
            broken.clear()
            raise torch.OutOfMemoryError
        return decode(*arguments)

    monkeypatch.setattr(pipeline.walker.decoding, "decode", once)

    async def doing() -> None:
        async with playing(pipeline) as played, played.browser() as browser, browser.page() as page:
            await page.hold("w")
            assert "memory" in (await page.told("error"))["text"]
            await page.told("state", lambda state: state["state"] == "standing" and state["chunks"] == 1)
            await page.hold("w")
            assert (await page.told("chunk"))["chunk"] == 1

    run(doing())


def test_another_walk_begins_after_one_that_no_folder_could_be_made_for(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
):
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    async def doing() -> None:
        async with playing(pipeline) as played, played.browser() as browser, browser.page() as page:
            await page.walk(1)
            with monkeypatch.context() as patch:
                patch.setattr("hyworld.live.walking.TemporaryDirectory", full)
                await browser.post("/begin", form(scene="1"))
                assert "No space left" in (await page.told("error"))["text"]
            assert (await browser.post("/begin", form(scene="1")))[0] == 200
            await page.told("state", lambda state: state["chunks"] == 0 and "path" in state)
            await page.walk(1)

    run(doing())


def test_a_full_disk_is_told_once_while_one_walks(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(video.VideoWriter, "_add", full)

    async def doing() -> None:
        async with playing(pipeline) as played, played.browser() as browser, browser.page() as page:
            await page.hold("w")
            text = (await page.told("error"))["text"]
            assert "no space left" in text
            assert text.endswith("The video ends here.")
            await page.told("chunk")
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(page.told("error"), 2)

    run(doing())


def test_what_was_walked_is_kept_at_the_end(pipeline: Pipeline):
    kept: list = []

    async def doing() -> None:
        async with playing(pipeline, autosave=1) as played, played.browser() as browser, browser.page() as page:
            await page.walk(2)
            assert (await browser.post("/begin", form(scene="1")))[0] == 200
            await page.told("state", lambda state: "path" in state)
            await page.walk(1)
            kept.append(played.walking)

    run(doing())
    files = kept[0].kept
    assert [left.path.name for left in files] == ["live.world", "live-2.world"]
    for left in files:
        assert World.load(left.path).chunks == left.chunks >= 1


def test_every_file_of_the_page_is_there_and_no_other(pipeline: Pipeline):
    async def doing() -> None:
        async with playing(pipeline) as played, played.browser() as browser:
            for name, path in page_files().items():
                async with browser.session.get(f"/{name}") as answer:
                    assert await answer.read() == path.read_bytes()
                    if name.endswith(".js"):
                        assert answer.content_type == "text/javascript"
            for name in ("js/package.json", "play", "play/", "scenes/8.png", "docs/x.md"):
                assert (await browser.get(f"/{name}"))[0] == 404

    run(doing())
