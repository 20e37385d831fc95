"""Live Walk in the real front end: a headless Chromium presses real keys and looks at the node."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from hyworld import World

from .browser import drive
from .client import Client
from .server import REPOSITORY, ComfyServer

pytestmark = [pytest.mark.host, pytest.mark.browser]

TEMPLATE = REPOSITORY / "example_workflows" / "live_walk.json"
LOAD_MODEL, TINY_WORLD, FIRST_FRAME, LIVE = 2, 3, 5, 6
"""Nodes of the template."""


def workflow(server: ComfyServer, folder: Path) -> Path:
    """The template, with the small model that heeds words, a CLIP wired to the node and small pictures."""
    graph = json.loads(TEMPLATE.read_text("utf-8"))
    nodes = {node["id"]: node for node in graph["nodes"]}
    nodes[LOAD_MODEL]["widgets_values"][0] = "tiny-random (noise, for tests)"
    nodes[FIRST_FRAME]["widgets_values"][:2] = [96, 64]
    link = max(link[0] for link in graph["links"]) + 1
    slot = next(i for i, entry in enumerate(nodes[LIVE]["inputs"]) if entry["name"] == "clip")
    nodes[LIVE]["inputs"][slot]["link"] = link
    nodes[TINY_WORLD]["outputs"][1]["links"].append(link)
    graph["links"].append([link, TINY_WORLD, 1, LIVE, slot, "CLIP"])
    graph["last_link_id"] = link
    file = folder / "live.json"
    file.write_text(json.dumps(graph), "utf-8")
    return file


@pytest.fixture(scope="module", params=["classic", "vue"])
def seen(
    request: pytest.FixtureRequest,
    node: str,
    chromium: str,
    server: ComfyServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What happened in one session in the browser, in one of the front end's two renderers."""
    pictures = os.environ.get("HYWORLD_PICTURES")
    scene = {
        "url": server.url,
        "chromium": chromium,
        "profile": str(tmp_path_factory.mktemp("profile")),
        "workflow": str(workflow(server, tmp_path_factory.mktemp("workflow"))),
        "vue": request.param == "vue",
        "pictures": pictures,
    }
    session = drive(node, "live.cjs", scene, timeout=500)
    if "skipped" in session:
        pytest.skip(session["skipped"])
    return session


def test_the_first_picture_is_there_when_it_can_be_walked(seen: dict[str, Any]) -> None:
    assert seen["first"]["before"] == {"enabled": False, "message": "Press Run, then walk here."}
    assert seen["first"]["lit"]
    assert seen["first"]["field"], "a CLIP is wired"


def test_held_keys_walk(seen: dict[str, Any]) -> None:
    walking = seen["walking"]
    assert walking["forward"][0] == walking["forward"][1] >= 2
    assert walking["turned"][1] > walking["forward"][1]
    assert walking["tapped"][1] > walking["turned"][1], "a tap counts"
    assert walking["thumbnails"] == walking["tapped"][1] + 1
    assert "frames" in walking["details"]


def test_no_key_reaches_the_graph(seen: dict[str, Any]) -> None:
    assert (seen["walking"]["cameThrough"], seen["walking"]["nodes"]) == ([], 0)


def test_walking_stops_when_the_focus_goes(seen: dict[str, Any]) -> None:
    blur = seen["blur"]
    assert blur["after"] <= blur["before"] + 3
    assert blur["later"] == blur["after"]


def test_one_goes_back_and_takes_another_way(seen: dict[str, Any]) -> None:
    branch = seen["branch"]
    assert branch["back"] == [1, branch["before"]]
    assert branch["after"][0] == branch["after"][1] < branch["before"]


def test_keys_walk_in_full_screen(seen: dict[str, Any]) -> None:
    full = seen["full"]
    assert full["filled"]
    assert full["width"] > 1200
    assert full["walked"] > 0
    assert full["left"]


def test_a_page_that_is_loaded_again_finds_its_walk(seen: dict[str, Any]) -> None:
    reload = seen["reload"]
    assert reload["found"]["chunks"][1] >= reload["before"][1]
    assert reload["found"]["lit"]
    assert reload["after"][1] > reload["found"]["chunks"][1]


def test_stop_saves_the_video_and_the_world_that_was_walked(
    seen: dict[str, Any], server: ComfyServer, client: Client
) -> None:
    stop = seen["stop"]
    assert stop["ended"] == "execution_success"
    assert stop["message"] == "The walk has ended."
    history = json.loads(client.get(f"/history/{seen['reload']['prompt']}"))[seen["reload"]["prompt"]]
    name = history["outputs"]["8"]["text"][0].split(",")[0]
    world = World.load(server.input.parent / "output" / name)
    assert world.chunks == seen["reload"]["after"][1]
    assert stop["video"]["duration"] == pytest.approx(world.video_frames / 16, abs=0.1)
    told = [step.words.prompt for step in world.history if step.words]
    before = seen["words"]["before"]
    assert told == [""] * before + ["it starts to rain"] * (world.chunks - before)


def test_the_hosts_cancel_keeps_the_walk_and_says_where(seen: dict[str, Any], server: ComfyServer) -> None:
    cancel = seen["cancel"]
    assert cancel["ended"] == "execution_interrupted"
    assert cancel["message"].startswith("Cancelled. This walk is kept in output/hyworld_unfinished/walk")
    folder = server.input.parent / "output" / "hyworld_unfinished"
    assert {file.suffix for file in folder.iterdir()} == {".world", ".mp4"}
    shutil.rmtree(folder)


def test_the_view_waits_for_no_walk_that_failed_before_it_began(seen: dict[str, Any]) -> None:
    broken = seen["broken"]
    assert broken["ended"] == "execution_error"
    assert broken["message"].startswith(("The walk has ended.", "The first frame is 96x64, but 32x64 is asked for"))


def test_nothing_went_wrong_in_the_page(seen: dict[str, Any]) -> None:
    assert [error for error in seen["errors"] if "hyw" in error.lower()] == []


@pytest.mark.skipif("HYWORLD_DOCS" not in os.environ, reason="renews the documentation's picture: set HYWORLD_DOCS=1")
def test_picture_of_a_walk_in_the_built_in_world(node: str, chromium: str, server: ComfyServer, tmp_path: Path) -> None:
    file = REPOSITORY / "web" / "docs" / "images" / "live_walk.png"
    scene = {
        "url": server.url,
        "chromium": chromium,
        "profile": str(tmp_path / "profile"),
        "workflow": str(TEMPLATE),
        "vue": False,
        "documentation": str(file),
    }
    assert "frames/s" in drive(node, "live.cjs", scene)["details"]


@pytest.mark.skipif("HYWORLD_PACE" not in os.environ, reason="needs a quiet machine: set HYWORLD_PACE=60 (seconds)")
@pytest.mark.parametrize("vue", [False, True], ids=["classic", "vue"])
def test_the_built_in_world_is_walked_in_real_time(
    node: str, chromium: str, server: ComfyServer, tmp_path: Path, vue: bool
) -> None:
    seconds = float(os.environ["HYWORLD_PACE"])
    scene = {
        "url": server.url,
        "chromium": chromium,
        "profile": str(tmp_path / "profile"),
        "workflow": str(TEMPLATE),
        "vue": vue,
        "seconds": seconds,
    }
    seen = drive(node, "live.cjs", scene, timeout=seconds + 300)
    if "skipped" in seen:
        pytest.skip(seen["skipped"])
    print(f"{seen['rate']:.2f} frames/s and {seen['stalls']} stalls over {seconds:g} s; {seen['details']}")
    assert seen["rate"] > 15.9
    assert not seen["stalls"]
