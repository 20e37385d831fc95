"""The path editor in the real front ends: walked, edited, saved and queued by real keys and pointer."""

from __future__ import annotations

import json
import os
import re
import shutil
from typing import Any

import pytest

from hyworld import Trajectory
from hyworld.config import CHUNK_LATENTS, FRAMES_PER_SECOND, frames_in

from .browser import drive
from .client import Client
from .conftest import street_picture
from .server import REPOSITORY, ComfyServer

pytestmark = [pytest.mark.host, pytest.mark.browser]

QUICK_START = REPOSITORY / "example_workflows" / "quick_start.json"


@pytest.fixture(scope="module", params=["classic", "vue"])
def seen(
    request: pytest.FixtureRequest,
    node: str,
    chromium: str,
    server: ComfyServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What happened in one session in the browser, in one of the front end's two renderers."""
    street_picture().save(server.input / "example.png")
    pictures = tmp_path_factory.mktemp("pictures")
    documents = os.environ.get("HYWORLD_DOCS") and request.param == "classic"
    scene = {
        "url": server.url,
        "chromium": chromium,
        "profile": str(tmp_path_factory.mktemp("profile")),
        "workflow": str(QUICK_START),
        "vue": request.param == "vue",
        "pictures": str(pictures) if documents else None,
    }
    session = drive(node, "editor.cjs", scene)
    if "skipped" in session:
        pytest.skip(session["skipped"])
    for file in pictures.iterdir():
        folder = "docs" if file.stem == "path_editor" else "web/docs"
        shutil.copy(file, REPOSITORY / folder / "images")
    return session


def counts(text: str, *keys: str) -> list[int]:
    """The counts of a path that consists of these keys, in this order."""
    found = re.fullmatch(", ".join(rf"{re.escape(key)}-(\d+)" for key in keys), text)
    assert found is not None, text
    return [int(count) for count in found.groups()]


def test_held_keys_are_recorded(seen: dict[str, Any]) -> None:
    walk = seen["walk"]
    assert walk["cleared"] == ""
    assert 4 <= counts(walk["forward"], "w")[0] <= 10  # a second at 8 latents per second, on a machine that may be busy
    counts(walk["looked"], "w", "left", "right")


def test_a_new_users_walk_takes_less_than_a_minute(seen: dict[str, Any]) -> None:
    """Forward, look left and back, return."""
    there = Trajectory.from_tokens(seen["walk"]["looked"])
    whole = Trajectory.from_tokens(seen["walk"]["returned"])
    assert seen["walk"]["returned"].startswith(seen["walk"]["looked"])
    assert len(whole) == 2 * len(there) - 1
    assert abs(whole.c2w[-1] - whole.c2w[0]).max() < 1e-12
    assert seen["walk"]["seconds"] < 60


def test_keys_combine_and_are_undone(seen: dict[str, Any]) -> None:
    returned, undo = seen["walk"]["returned"], seen["undo"]
    assert re.fullmatch(re.escape(returned) + r", d\+right-\d+", undo["together"])
    assert undo["undone"] == returned
    assert undo["redone"] == undo["together"]
    assert undo["graphStays"]


def test_the_graphs_own_undo_takes_a_recording_back(seen: dict[str, Any]) -> None:
    undo = seen["graphUndo"]
    assert re.fullmatch(re.escape(undo["before"]) + r", d-\d+", undo["walked"])
    assert undo["left"], "Escape gives the keys back to the graph"
    assert undo["undone"] == undo["before"]


def test_playing_ends_a_recording(seen: dict[str, Any]) -> None:
    playing = seen["playing"]
    assert playing["playing"], "a held Space starts to play, and does not stop again"
    assert re.fullmatch(re.escape(playing["before"]) + r", d-\d+", playing["walked"])
    assert playing["undone"] == playing["before"]
    assert playing["hint"] == 0, "a hint would cover what the camera sees"


def test_the_middle_button_moves_the_graph(seen: dict[str, Any]) -> None:
    assert seen["panned"] == [40, 20]


def test_no_key_reaches_the_graph(seen: dict[str, Any]) -> None:
    assert seen["shortcuts"] == {"cameThrough": [], "unchanged": True, "nodes": 0}


def test_keys_are_released_when_the_focus_goes(seen: dict[str, Any]) -> None:
    assert seen["blur"] == {"recorded": True, "stopped": True}


def test_keyboard_alone(seen: dict[str, Any]) -> None:
    keyboard = seen["keyboard"]
    assert (keyboard["atStart"], keyboard["afterChunk"]) == (0, CHUNK_LATENTS)
    assert first_count(keyboard["longer"]) == first_count(keyboard["before"]) + 1
    assert keyboard["again"] == keyboard["before"]


@pytest.mark.parametrize("zoom", ["zoomedOut", "zoomedIn"])
def test_pointer_at_any_zoom(seen: dict[str, Any], zoom: str) -> None:
    pointer = seen[zoom]
    assert first_count(pointer["dragged"]) == first_count(pointer["before"]) + 4
    assert pointer["undone"] == pointer["before"]
    assert pointer["playhead"] == 0


def first_count(text: str) -> int:
    found = re.match(r"w-(\d+)", text)
    assert found is not None, text
    return int(found[1])


def test_a_gamepad_walks(seen: dict[str, Any]) -> None:
    gamepad = seen["gamepad"]
    assert re.fullmatch(re.escape(gamepad["before"]) + r", w-\d+", gamepad["walked"])
    assert gamepad["undone"] == gamepad["before"]


def test_key_presses(seen: dict[str, Any]) -> None:
    presses = seen["keyPresses"]
    assert re.fullmatch(r"W\+→\*\d+", presses["walked"])
    assert presses["relabels"]["message"].startswith("The wired trajectory is where the camera goes")
    assert not presses["relabels"]["map"]


def test_text_that_is_no_path_is_kept_and_said(seen: dict[str, Any]) -> None:
    broken = seen["typing"]["broken"]
    assert broken["text"] == "w-7, jump-4"  # after a gamepad was pushed, too
    assert broken["message"].startswith('Token 2 of the camera path, "jump-4", has the unknown key "jump"')
    assert not broken["walk"]


def test_a_chunk_that_is_not_full_is_said(seen: dict[str, Any]) -> None:
    typed = seen["typing"]["typed"]
    assert typed["counts"] == "6 latents · 1 chunk · 13 frames · 0.8 s"
    assert typed["message"].startswith("The last 2 latents do not fill a chunk and are left out.")
    assert typed["place"] == "latent 6 of 6, not in a whole chunk: right"


def test_text_from_a_link_is_left_alone(seen: dict[str, Any]) -> None:
    assert seen["linked"]["message"].startswith("The text comes from a link")
    assert (seen["linked"]["enabled"], seen["linked"]["enabledAgain"]) == (False, True)


def test_only_the_text_is_saved(seen: dict[str, Any]) -> None:
    saved = seen["saved"]
    assert saved["values"] == [saved["before"]["text"], 0.08, 3, False, "WorldPlay"]
    assert saved["after"] == {**saved["before"], "undo": False}


def test_the_video_walks_the_recorded_path(seen: dict[str, Any], client: Client) -> None:
    run, text = seen["run"], seen["saved"]["before"]["text"]
    assert run["ended"] == "execution_success"
    prompt = json.loads(client.get(f"/history/{run['promptId']}"))[run["promptId"]]["prompt"][2]
    assert [x["inputs"] for x in prompt.values() if x["class_type"] == "HYWorldCameraTrajectory"] == [
        {"path": text, "move_speed": 0.08, "turn_speed": 3, "third_person": False, "pace": "WorldPlay"}
    ]
    path = Trajectory.from_tokens(text)
    assert len(path) % CHUNK_LATENTS == 0
    assert run["video"]["duration"] == pytest.approx(frames_in(len(path)) / FRAMES_PER_SECOND, abs=0.1)
