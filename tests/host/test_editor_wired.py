"""The path editor and the graph around it: worlds to go on in, linked texts and speeds, and the sizes of nodes."""

from __future__ import annotations

from typing import Any

import pytest

from hyworld import Trajectory
from hyworld.config import CHUNK_LATENTS, FRAMES_PER_SECOND, VAE_TEMPORAL_STRIDE, frames_in

from .browser import drive
from .server import ComfyServer

pytestmark = [pytest.mark.host, pytest.mark.browser]

EDITORS = ["camera", "keys"]


@pytest.fixture(scope="module", params=["classic", "vue"])
def seen(
    request: pytest.FixtureRequest,
    node: str,
    chromium: str,
    server: ComfyServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What one session in the browser showed, in one of the front end's two renderers."""
    scene = {
        "url": server.url,
        "chromium": chromium,
        "profile": str(tmp_path_factory.mktemp("profile")),
        "vue": request.param == "vue",
    }
    session = drive(node, "editor_wired.cjs", scene)
    if "skipped" in session:
        pytest.skip(session["skipped"])
    return session


def new_walk(path: str) -> str:
    """The editor's counts of a path that starts a world."""
    latents = len(Trajectory.from_tokens(path))
    return counts(latents, frames_in(latents // CHUNK_LATENTS * CHUNK_LATENTS))


def continued_walk(path: str) -> str:
    """The editor's counts of a path that goes on: the first pose is a latent that there already is."""
    latents = len(Trajectory.from_tokens(path)) - 1
    return counts(latents, latents // CHUNK_LATENTS * CHUNK_LATENTS * VAE_TEMPORAL_STRIDE)


def counts(latents: int, frames: int) -> str:
    chunks = latents // CHUNK_LATENTS
    plural = "" if chunks == 1 else "s"
    seconds = frames / FRAMES_PER_SECOND
    return f"{latents} latents · {chunks} chunk{plural} · {frames} frames · {seconds:.1f} s"


def test_a_new_walk(seen: dict[str, Any]) -> None:
    fresh = seen["walkingOn"]["fresh"]
    assert (fresh["counts"], fresh["message"]) == (new_walk("w-7"), "")
    assert fresh["place"] == "latent 8 of 8, chunk 2 of 2: forward"
    assert (fresh["chunks"], fresh["pieces"]) == (["1", "2"], 2)
    assert fresh["firstTick"] < 1


def test_a_path_that_goes_on_in_a_wired_world(seen: dict[str, Any]) -> None:
    on = seen["walkingOn"]["continued"]
    assert on["counts"] == continued_walk("w-7") == "7 latents · 1 chunk · 16 frames · 1.0 s"
    assert on["message"].startswith("The last 3 latents do not fill a chunk and are left out. The path goes on in the")
    assert on["place"] == "latent 7 of 7, not in a whole chunk: forward"
    assert on["chunks"] == ["1"]
    assert on["firstTick"] == pytest.approx(on["cell"], abs=1), "the first chunk begins after the start"


def test_filling_a_continued_walk(seen: dict[str, Any]) -> None:
    filled = seen["walkingOn"]["filled"]
    assert (filled["text"], filled["counts"]) == ("w-8", continued_walk("w-8"))
    assert filled["message"].startswith("The path goes on in the wired world")


def test_a_path_that_starts_one_world_and_goes_on_in_another(seen: dict[str, Any]) -> None:
    both = seen["walkingOn"]["both"]
    assert both["counts"] == new_walk("w-8")
    assert both["message"].endswith(f"In the wired world, where it goes on, it is {continued_walk('w-8')}.")


def test_a_sampler_in_a_subgraph_is_found(seen: dict[str, Any]) -> None:
    assert seen["walkingOn"]["inSubgraph"]["counts"] == continued_walk("w-8")
    assert seen["walkingOn"]["alone"]["counts"] == new_walk("w-8")


def test_the_second_part_of_a_join_has_no_first_latent(seen: dict[str, Any]) -> None:
    part = seen["walkingOn"]["part"]
    assert part["counts"] == continued_walk("w-8")
    assert part["message"] == "A part of a joined path, counted alone."


def test_a_path_for_dreamx_world(seen: dict[str, Any]) -> None:
    """Chunks of 3 latents, its letters in the text and on the keyboard, 6 degrees a latent."""
    fresh, pressed, on = (seen["dreamx"][when] for when in ("fresh", "pressed", "continued"))
    assert fresh["counts"] == "12 latents · 4 chunks · 45 frames · 2.8 s"
    assert (fresh["message"], fresh["chunks"]) == ("", ["1", "2", "3", "4"])
    assert (fresh["segments"], fresh["bearing"]) == (["W7", "W→4"], 4 * 6)
    assert pressed["text"] == "w-7, wl-4, left-1"
    assert pressed["bearing"] == 3 * 6
    assert on["counts"] == "12 latents · 4 chunks · 48 frames · 3.0 s"


@pytest.mark.parametrize("editor", ["path", "keys"])
def test_a_linked_text_is_shown_after_it_ran(seen: dict[str, Any], editor: str) -> None:
    own, before, after = (seen[editor][when] for when in ("own", "before", "after"))
    assert (own["counts"], own["undo"]) == (new_walk("w-11"), True)

    assert before["text"] == own["text"], "the node keeps its own text"
    assert before["message"].startswith("The text comes from a link and is shown here after a run")
    assert (before["counts"], before["place"], before["segments"]) == ("", "", [])
    assert not before["walk"]

    assert seen[editor]["ended"] == "execution_success"
    assert (after["counts"], after["segments"]) == (new_walk("w-3, right-4"), ["W3", "→4"])
    assert after["message"].startswith("This is what ran last: the text comes from a link.")
    assert after["message"].endswith("A speed comes from a link: the path is drawn at the last run's.")
    assert (after["text"], after["walk"], after["undo"]) == (own["text"], False, False)
    assert after["bearing"] == 4 * 6, "degrees, at the speed that ran"
    assert seen[editor]["cached"] == after


@pytest.mark.parametrize("editor", ["path", "keys"])
def test_without_the_link_the_nodes_own_text_is_shown_again(seen: dict[str, Any], editor: str) -> None:
    own, apart = seen[editor]["own"], seen[editor]["apart"]
    for what in ("text", "counts", "segments", "place", "walk", "undo"):
        assert apart[what] == own[what]


@pytest.mark.parametrize("editor", [*EDITORS, "relabels"])
@pytest.mark.parametrize("size", ["usual", "narrow"])
def test_nothing_is_cut_or_overlaps(seen: dict[str, Any], editor: str, size: str) -> None:
    layout = seen["sizes"][editor][size]
    assert layout["width"] < 230 if size == "narrow" else layout["width"] == 440
    check_layout(layout)


def test_the_longest_message_fits_into_a_narrow_node(seen: dict[str, Any]) -> None:
    check_layout(seen["walkingOn"]["narrow"])


def check_layout(layout: dict[str, Any]) -> None:
    assert (layout["out"], layout["overlaps"], layout["cut"]) == ([], [], [])
    assert layout["inNode"], "the editor ends where the node does"


@pytest.mark.parametrize("editor", EDITORS)
def test_a_taller_node_has_a_larger_picture(seen: dict[str, Any], editor: str) -> None:
    usual, taller = seen["sizes"][editor]["usual"], seen["sizes"][editor]["taller"]
    assert taller["text"] == pytest.approx(usual["text"], abs=1)
    assert taller["stage"] == pytest.approx(usual["stage"] + 300, abs=2)
