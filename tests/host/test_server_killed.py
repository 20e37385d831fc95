"""A server killed (SIGKILL) at any moment of a walk: video and world on disk are whole and lack little.

`HYWORLD_KILLS=30 pytest tests/host/test_server_killed.py` kills more often than the suite does.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import av
import pytest

from hyworld import World

from .client import Client, Prompt
from .conftest import street_picture
from .installation import Installation
from .results import assert_same
from .server import ComfyServer
from .walks import SAMPLER, node, sampler_node, slowed, walk

pytestmark = pytest.mark.host

KILLS = int(os.environ.get("HYWORLD_KILLS", "1"))
PATH = "w-3, right-16, w-8, left-12"
CHUNKS, STEPS, EVERY = 10, 4, 4


def filmed(prompt: Prompt) -> Prompt:
    film = node("SaveVideo", video=[SAMPLER, 4], filename_prefix="film", format="auto", codec="auto")
    return {**prompt, "film": film}


@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_server_leaves_a_video_and_a_world(comfyui: Installation, tmp_path: Path, number: int) -> None:
    moment = random.Random(f"kill {number}")
    with ComfyServer(comfyui, tmp_path / "killed") as server:
        street_picture().save(server.input / "street.png")
        client = Client(server.url)
        run = client.queue(filmed(slowed(walk(PATH, seed=11), 0.02)))
        step = moment.randrange(1, CHUNKS * STEPS - 1)
        client.follow(run, until=lambda event: event.kind == "progress" and event.data["value"] >= step)
        time.sleep(0.3 * moment.random())
        server.kill()
    made = step // STEPS  # at least
    folder = server.input.parent / "output" / "hyworld_unfinished"
    worlds, films = list(folder.glob("[!.]*.world")), list(folder.glob("[!.]*.mp4"))
    found = [(file.name, World.load(file).chunks) for file in worlds], [(file.name, frames_in(file)) for file in films]
    print(f"kill {number}: {made} chunks or more made; {found}")
    # What the encoder had in work may be lost, and of the world what came since it was saved or was being saved.
    assert found[1] or made < 2
    assert all(frames == 0 or frames % 16 == 13 for _, frames in found[1])
    assert all((frames + 3) // 16 >= made - 1 for _, frames in found[1])
    assert found[0] or made <= EVERY
    assert all(chunks >= made - 1 - EVERY for _, chunks in found[0])


def frames_in(file: Path) -> int:
    """Raises if any frame is damaged."""
    if file.stat().st_size == 0:  # opened for the first chunk a moment ago
        return 0
    with av.open(str(file)) as film:
        return sum(1 for _ in film.decode(video=0))


def test_another_server_goes_on_in_that_world(comfyui: Installation, tmp_path: Path) -> None:
    with ComfyServer(comfyui, tmp_path / "killed") as server:
        street_picture().save(server.input / "street.png")
        client = Client(server.url)
        run = client.queue(filmed(slowed(walk(PATH, seed=11), 0.15)))
        client.follow(run, until=lambda event: event.kind == "progress" and event.data["value"] >= 6 * STEPS + 2)
        server.kill()
    (file,) = (server.input.parent / "output" / "hyworld_unfinished").glob("*.world")
    left = World.load(file)

    with ComfyServer(comfyui, tmp_path / "again") as again:
        street_picture().save(again.input / "street.png")
        kept = again.input.parent / "output" / "hyworld_unfinished"
        kept.mkdir()
        shutil.copy(file, kept)
        client = Client(again.url)
        prompt = walk("left-8")
        prompt["load"] = node("HYWorldLoadWorld", file=f"hyworld_unfinished/{file.name} [output]")
        prompt[SAMPLER] = sampler_node(world=["load", 0])
        on = client.run(prompt)
        assert on.status == "success", on.error
        whole = walk(PATH, seed=11)
        whole["save"] = node("HYWorldSaveWorld", world=[SAMPLER, 3], filename_prefix="whole")
        assert client.run(whole).status == "success"
        (undisturbed,) = (again.input.parent / "output").glob("whole*.world")
        assert_same(World.load(undisturbed).at_chunk(left.chunks).latents, left.latents)
