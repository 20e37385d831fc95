"""The page and its view in a real browser, by real keys, fingers and pointer, against a server with drawn frames."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..host.browser import drive

pytestmark = pytest.mark.browser

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that speaks the protocol."""
    pytest.importorskip("aiohttp")
    command = [sys.executable, str(HERE / "fake_server.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/"
        server.stdin.close()
        server.wait(20)


@pytest.fixture(scope="module")
def seen(node: str, chromium: str, url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What happened in one session."""
    scene = {"url": url, "chromium": chromium, "profile": str(tmp_path_factory.mktemp("profile")), "pictures": None}
    return drive(node, HERE / "page.cjs", scene)


def test_the_page_needs_no_other_host_and_has_no_errors(seen: dict[str, Any]) -> None:
    assert seen["open"]["others"] == []
    assert seen["open"]["errors"] == []
    assert seen["open"]["picture"][:2] == [288, 160]


def test_keys_walk_only_with_the_focus(seen: dict[str, Any]) -> None:
    assert seen["open"]["unfocused"] == 0
    walk = seen["walk"]
    assert walk["inputs"] == ["w", "w+right", "right", ""]
    assert 0 <= walk["after"] < 1000, "inputs have the time of the key event"
    x, _, z, yaw, _ = walk["end"]
    assert z > 0.08 * 4 * 4
    assert x > 0
    assert yaw > 0.15


def test_every_frame_is_played_at_its_pace(seen: dict[str, Any]) -> None:
    walk = seen["walk"]
    stats = walk["stats"]
    assert stats["frames"] == 13 + 16 * (walk["chunks"] - 1)
    assert stats["skipped"] == 0
    # On a machine that may be busy.
    assert stats["stalls"] <= 1
    assert 15 < stats["rate"] < 16.5
    assert [chunk for chunk, _ in walk["playing"]] == list(range(walk["chunks"]))
    assert walk["playing"][0][1] == pytest.approx(13 / 16)
    assert f"{stats['frames']} frames" in walk["details"]


def test_the_delay_from_key_to_picture_is_measured(seen: dict[str, Any]) -> None:
    # From standing, a chunk's half second of computing; while walking, up to a chunk's play more.
    delays = seen["walk"]["stats"]["delays"]
    assert len(delays) >= 2
    assert all(490 < delay < 2500 for delay in delays)
    assert "key to picture" in seen["walk"]["details"]


def test_what_is_held_and_made_is_shown(seen: dict[str, Any]) -> None:
    walk = seen["walk"]
    assert walk["held"] == {"down": ["W"], "here": ["W"]}
    assert "step" in walk["caption"]
    assert walk["work"] <= 1
    assert walk["pathOnMap"] == walk["chunks"]
    assert walk["place"] == f"chunk {walk['chunks']} of {walk['chunks']} · time stands still"
    assert walk["still"] == []


@pytest.mark.parametrize("way", ["blur", "tab", "escape", "hidden"])
def test_keys_are_released(seen: dict[str, Any], way: str) -> None:
    assert seen["release"][way] == {"pressed": True, "released": True}


def test_after_escape_no_key_walks(seen: dict[str, Any]) -> None:
    assert seen["release"]["left"]


def test_only_keys_for_the_workflow_leave_the_view(seen: dict[str, Any]) -> None:
    assert seen["shortcuts"] in (["Enter"], ["Control", "Enter"])


def test_going_back_and_another_way(seen: dict[str, Any]) -> None:
    back = seen["goBack"]
    assert back["ahead"] == back["before"] - 3
    assert back["place"] == f"chunk 2 of {back['before'] - 1} · time stands still"
    assert back["forward"], "chunks ahead can be gone to"
    assert back["oneBack"], "Backspace goes one chunk back"
    assert (back["path"], back["cells"]) == (12, 4), "what lay ahead is gone"
    assert back["now"] == "chunk 3 of 3 · time stands still"
    assert back["end"][0] > 0.2, "d was pressed"
    assert back["played"] == [2, 2]


def test_time_goes_on(seen: dict[str, Any]) -> None:
    assert seen["timeGoesOn"] == {"went": True, "on": "true", "stood": True, "off": "false"}


def test_words(seen: dict[str, Any]) -> None:
    words = seen["words"]
    assert words["was"] == "a street"
    assert words["said"] == ["snow was falling"]
    assert words["walked"] == 0, "letters in the field do not walk"
    assert words["deaf"]
    assert not words["withoutEncoder"]


def test_what_steers_is_hidden_where_the_model_follows_no_camera(seen: dict[str, Any]) -> None:
    still = seen["still"]
    steering = {".hyw-screen .hyw-map", ".hyw-caps", ".scenes"}
    assert all(still["before"].values())
    assert {name for name, visible in still["now"].items() if not visible} == steering
    assert still["caption"] == "press Space to let time go on"
    assert still["relabelled"]
    assert all(still["after"].values())


def test_a_gamepad_keeps_its_deflection(seen: dict[str, Any]) -> None:
    assert seen["gamepad"] == {"gauges": True, "move": [0.3, 0.5], "turn": [0, 0], "released": True}


def test_full_screen(seen: dict[str, Any]) -> None:
    assert seen["full"]["wide"] > 0.97
    assert seen["full"]["filled"] > 0.97
    assert seen["full"]["left"]


def test_a_lost_socket_releases_keys_and_is_replaced(seen: dict[str, Any]) -> None:
    lost = seen["lost"]
    assert lost["held"] == []
    assert lost["back"]
    assert lost["message"] == ""
    assert lost["silent"], "a key held through it has to be pressed again"
    assert lost["again"]


def test_the_walk_survives_a_reload(seen: dict[str, Any]) -> None:
    lost = seen["lost"]
    assert lost["after"]["cells"] == lost["cells"]
    assert lost["after"]["place"].startswith(f"chunk {lost['cells'] - 1} of {lost['cells'] - 1}")
    assert lost["after"]["picture"][:2] == [288, 160]


def test_the_end_of_a_walk_is_no_lost_connection(seen: dict[str, Any]) -> None:
    assert seen["ended"] == {"message": "The walk has ended: 3 chunks.", "sockets": 0, "again": True}


def test_one_walks_and_another_watches(seen: dict[str, Any]) -> None:
    watch = seen["watch"]
    assert watch["message"] == "You watch; you walk when the other leaves."
    assert watch["silent"]
    assert watch["frames"] >= 16
    assert watch["after"] == ""
    assert watch["walks"]


def test_another_walk_begins(seen: dict[str, Any]) -> None:
    begin = seen["begin"]
    assert begin["refused"] == "That did not work: The seed 13 is not for walking."
    refused, scene, own, world = begin["posted"]
    assert refused == {"scene": "3", "words": "", "seed": "13"}
    assert scene == {"scene": "5", "words": "a yard", "seed": "4"}
    assert own == {"picture": "mine.png", "words": "a yard", "seed": "4"}
    assert world == {"world": 1000}
    assert begin["cells"] == 1, "nothing of the walk before is left"
    assert begin["focused"] == "hyw-screen"
    assert begin["pasted"] == "true"


def test_notes_and_errors_are_one_line(seen: dict[str, Any]) -> None:
    assert seen["messages"] == [["note", "note"], ["error", "error"], ["ended", "note"]]


def test_fingers(seen: dict[str, Any]) -> None:
    touch = seen["touch"]
    assert touch["move"] == [0, pytest.approx(0.5, abs=0.02)]
    assert touch["turn"] == [1, 0]
    assert touch["rings"] == 2
    assert touch["released"] == [[0, 0], [0, 0]]
    assert touch["wide"] == 375, "nothing is wider than a telephone"
