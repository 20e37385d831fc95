"""A real `hyworld play`, walked in a real browser: what its keys made is the world, and walks again bit for bit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

import hyworld
from hyworld import World
from hyworld.walk.world import told_by_chunk

from ..host.browser import drive

pytestmark = pytest.mark.browser

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running `hyworld play`."""
    command = [sys.executable, "-m", "hyworld.cli.main", "play", "--no-browser", "--port", "0"]
    command += ["--preset", "tiny-random", "--size", "64x96", "--prompt", "a street", "--seed", "3"]
    here = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    folder = tmp_path_factory.mktemp("play")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder, env=here) as server:
        assert server.stdout is not None
        address = next((found[0] for line in server.stdout if (found := re.search(r"http://\S+", line))), None)
        assert address is not None
        yield address
        server.terminate()


@pytest.fixture(scope="module")
def seen(node: str, chromium: str, url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What happened in one session, with the files that were saved."""
    folder = tmp_path_factory.mktemp("saved")
    scene = {
        "url": url,
        "chromium": chromium,
        "profile": str(tmp_path_factory.mktemp("profile")),
        "seconds": 2,
        "world": str(folder / "walk.world"),
        "video": str(folder / "walk.mp4"),
    }
    return {**scene, **drive(node, HERE / "walked.cjs", scene)}


def test_walk_back_another_way_reload_save_begin_load(seen: dict[str, Any]) -> None:
    assert seen["errors"] == []
    assert seen["chunks"] >= 4
    assert seen["stats"]["frames"] == 13 + 16 * (seen["chunks"] - 1)


def test_the_saved_world_is_what_was_walked_and_walks_again(seen: dict[str, Any]) -> None:
    world = World.load(Path(seen["world"]))
    assert world.chunks == 3
    assert told_by_chunk(world) == {0: "a street", 2: "it snows"}
    ahead, aside = world.path.c2w[1:8], world.path.c2w[8:]
    assert ahead[-1, 2, 3] > 0.08 * 5, "w"
    assert aside[-1, 0, 3] < ahead[-1, 0, 3], "a"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dtype = world.history[0].latents.dtype  # play chooses the faster one on this CPU
        pipeline = hyworld.load(preset="tiny-random", device="cpu", dtype=dtype)
    again = pipeline.start(text="a street", seed=3, size=(64, 96))
    for chunk in pipeline.walk(again, world.path.split(4), prompts=told_by_chunk(world)):
        again = chunk.world
    assert again == world


def test_the_saved_video_plays(seen: dict[str, Any]) -> None:
    with av.open(seen["video"]) as video:
        assert sum(1 for _ in video.decode(video=0)) == 13 + 2 * 16


def test_the_delay_is_measured(seen: dict[str, Any]) -> None:
    assert seen["stats"]["delays"]
    assert all(0 < delay < 60_000 for delay in seen["stats"]["delays"])
