"""The templates as they open in the real front ends, on a window of 1600×950: legible, and nothing over anything."""

from __future__ import annotations

import json
import os
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from .browser import drive
from .conftest import street_picture
from .server import PACK_NAME, REPOSITORY, ComfyServer

pytestmark = [pytest.mark.host, pytest.mark.browser]

TEMPLATES = sorted(file.stem for file in (REPOSITORY / "example_workflows").glob("*.json"))
DOCUMENTATION = REPOSITORY / "docs" / "images" / "templates"
RUN = "quick_start"
NEED_NO_FILE = (RUN, "live_walk", "walk_and_save", "walk_back")
SMALLEST_SCALE = 0.75
"""At half of that old front ends stop drawing text."""
LEAST_CONTRAST = 3.2
"""Of the host's colours for links on ours for notes; 1.8 is what its inline code has on its brown notes."""
NEED_OTHER_FILES = ("dreamx_5b", "self_forcing_stream", "ti2v_5b")
"""Models that are not WorldPlay, under other licences."""
LICENCE = "does not cover the EU, the UK and South Korea"
ROOM = 1.5
"""Graph units that rounding may cost."""

Rect = list[float]


@pytest.fixture(scope="module", params=["classic", "vue"])
def session(
    request: pytest.FixtureRequest,
    node: str,
    chromium: str,
    server: ComfyServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What was measured in one of the front end's two renderers."""
    street_picture().resize((640, 384)).save(server.input / "example.png")
    pictures = tmp_path_factory.mktemp("pictures") if os.environ.get("HYWORLD_DOCS") else None
    scene = {
        "url": server.url,
        "chromium": chromium,
        "profile": str(tmp_path_factory.mktemp("profile")),
        "pack": PACK_NAME,
        "templates": TEMPLATES,
        "run": RUN,
        "vue": request.param == "vue",
        "pictures": pictures and str(pictures),
    }
    seen = drive(node, "templates.cjs", scene)
    if "skipped" in seen:
        pytest.skip(seen["skipped"])
    if pictures:
        keep(pictures)
    return seen


def keep(pictures: Path) -> None:
    """Put the pictures into the documentation."""
    for file in pictures.iterdir():
        with Image.open(file) as picture:
            picture.convert("RGB").save(DOCUMENTATION / f"{file.stem}.webp", quality=80, method=6)


OPENED = [f"{name} {palette}" for name in TEMPLATES for palette in ("dark", "light")]


@pytest.fixture(params=OPENED)
def opened(request: pytest.FixtureRequest, session: dict[str, Any]) -> dict[str, Any]:
    """One template as it opens."""
    name = request.param.split()[0]
    return {**session["opened"][request.param], "name": name}


@pytest.fixture(params=[*OPENED, "ran", "again"])
def seen(request: pytest.FixtureRequest, session: dict[str, Any]) -> dict[str, Any]:
    """One template as it opens, or the quick start with each node as large as it got in a run, or in a second one."""
    if request.param in session:
        return {**session[request.param], "saved": saved(RUN)}
    return {**session["opened"][request.param], "saved": saved(request.param.split()[0])}


def saved(name: str) -> dict[str, Any]:
    workflow: dict[str, Any] = json.loads((REPOSITORY / "example_workflows" / f"{name}.json").read_text("utf-8"))
    return workflow


def overlap(a: Rect, b: Rect) -> bool:
    return all(a[i] + a[i + 2] > b[i] + ROOM and b[i] + b[i + 2] > a[i] + ROOM for i in (0, 1))


def within(a: Rect, b: Rect) -> bool:
    return all(a[i] >= b[i] - ROOM and a[i] + a[i + 2] <= b[i] + b[i + 2] + ROOM for i in (0, 1))


def test_no_two_nodes_overlap(seen: dict[str, Any]) -> None:
    pairs = combinations(seen["nodes"], 2)
    assert [(a["title"], b["title"]) for a, b in pairs if overlap(a["rect"], b["rect"])] == []


def test_nodes_lie_in_their_groups(seen: dict[str, Any]) -> None:
    for node in seen["nodes"]:
        if node["group"] >= 0:
            group = seen["groups"][node["group"]]
            assert within(node["rect"], group["rect"]), f"{node['title']} leaves {group['title']}"
        else:
            assert node["type"] == "MarkdownNote", f"{node['title']} is in no group"
            assert not [group["title"] for group in seen["groups"] if overlap(node["rect"], group["rect"])]


def test_no_two_groups_overlap(seen: dict[str, Any]) -> None:
    pairs = combinations(seen["groups"], 2)
    assert [(a["title"], b["title"]) for a, b in pairs if overlap(a["rect"], b["rect"])] == []


def test_nodes_are_no_larger_than_saved(seen: dict[str, Any]) -> None:
    """A node that grows when it is drawn covers its neighbour."""
    title = 30
    sizes = {str(node["id"]): node["size"] for node in seen["saved"]["nodes"] if not node["flags"].get("collapsed")}
    for node in seen["nodes"]:
        if str(node["id"]) in sizes:
            width, height = sizes[str(node["id"])]
            drawn = node["rect"][2:]
            assert (drawn[0] <= width + ROOM, drawn[1] <= height + title + ROOM) == (True, True), (node["title"], drawn)


def test_links_run_between_the_groups(seen: dict[str, Any]) -> None:
    assert seen["crossings"] == []


def test_it_opens_large_enough_to_read(opened: dict[str, Any]) -> None:
    assert opened["scale"] >= SMALLEST_SCALE - 1e-3
    assert not opened["blank"]
    assert all(node["title"] for node in opened["nodes"])


def test_everything_is_in_the_window(opened: dict[str, Any]) -> None:
    outside = [x["title"] for x in opened["nodes"] + opened["groups"] if not within(x["rect"], opened["seen"])]
    assert outside == []


def test_notes_can_be_read(opened: dict[str, Any]) -> None:
    assert len(opened["notes"]) >= 2
    for note in opened["notes"]:
        assert len(note["shown"]) > 50
        assert note["overflow"] <= ROOM, f"the end of note {note['id']} is hidden"
        assert note["free"], f"something of the front end covers note {note['id']}"
        assert note["contrast"] is None or note["contrast"] > LEAST_CONTRAST, f"note {note['id']}"


def test_the_licence_is_told_where_files_are_needed(opened: dict[str, Any]) -> None:
    texts = " ".join(note["shown"] for note in opened["notes"])
    assert (LICENCE in texts) == (opened["name"] not in (*NEED_NO_FILE, *NEED_OTHER_FILES))


def test_nothing_lies_over_a_template_that_needs_no_file(opened: dict[str, Any]) -> None:
    if opened["name"] in NEED_NO_FILE:
        assert opened["dialogs"] == []


def test_the_quick_start_runs(session: dict[str, Any]) -> None:
    assert session["ran"]["ended"] == session["again"]["ended"] == "execution_success"
    assert "told" not in session["ran"]
    assert session["again"]["told"].startswith("Chunk 1 is known from the last run")
