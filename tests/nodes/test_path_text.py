"""The path field: what its text is taken for, and where files lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def path_text(pack: Callable[[str], Any], input_folder: Path) -> Any:
    return pack("nodes.path_text")


def pose_json(latents: int) -> str:
    """A camera that stands still."""
    pose = {"extrinsic": np.eye(4).tolist(), "K": [[969.7, 0, 960], [0, 969.7, 540], [0, 0, 1]]}
    return json.dumps({str(i): pose for i in range(latents)})


def test_tokens_walk_at_the_speeds_of_the_node(path_text: Any) -> None:
    path = path_text.read_path("  w-3, right-1\n", 0.5, 30.0, False)
    assert len(path) == 5
    assert path.c2w[3, 2, 3] == pytest.approx(1.5)
    assert np.trace(path.c2w[4, :3, :3]) == pytest.approx(1 + 2 * np.cos(np.pi / 6))


@pytest.mark.parametrize("name", ["walk.json", "WALK.JSON"])
def test_a_file_is_taken_from_the_input_folder(path_text: Any, input_folder: Path, name: str) -> None:
    (input_folder / name).write_text(pose_json(5), encoding="utf-8")
    assert len(path_text.read_path(f" {name} ", 0.08, 3.0, False)) == 5


def test_an_absolute_file_is_taken_as_it_is(path_text: Any, input_folder: Path, tmp_path_factory: Any) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "walk.json"
    elsewhere.write_text(pose_json(6), encoding="utf-8")
    (input_folder / "walk.json").write_text(pose_json(5), encoding="utf-8")
    assert len(path_text.read_path(str(elsewhere), 0.08, 3.0, False)) == 6


def test_pose_json_is_read_as_it_is(path_text: Any) -> None:
    assert len(path_text.read_path(pose_json(4), 0.08, 3.0, False)) == 4


def test_a_file_that_is_nowhere_is_named_as_the_user_wrote_it(path_text: Any, pack: Callable[[str], Any]) -> None:
    with pytest.raises(pack("hyworld.errors").InputError, match=r'^The camera file "\./nowhere\.json"'):
        path_text.read_path("./nowhere.json", 0.08, 3.0, False)


@pytest.mark.parametrize(
    "text",
    ["w-1, " * 100 + ".json", "[" * 300 + ".json", '{"' + "0" * 300 + ".json", "w-\0.json"],
    ids=["tokens", "list", "object", "null"],
)
def test_text_that_only_ends_like_a_file_is_refused_in_words(path_text: Any, pack: Any, text: str) -> None:
    with pytest.raises(pack("hyworld.errors").InputError):
        path_text.read_path(text, 0.08, 3.0, False)


def test_third_person_labels_turns_differently(path_text: Any) -> None:
    first, third = (path_text.read_path("w-2, right-4, w+right-4", 0.08, 3.0, person) for person in (False, True))
    assert not np.array_equal(first.labels, third.labels)
    assert np.array_equal(first.c2w, third.c2w)


def test_orbits_stay_third_person_where_the_box_is_not_ticked(path_text: Any) -> None:
    assert np.array_equal(
        path_text.read_path("orbit_left-7", 0.08, 3.0, False).labels,
        path_text.read_path("orbit_left-7", 0.08, 3.0, True).labels,
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [("w-4", False), ("", False), (' {"0": {}}', True), ("\n[1]", True), ("Walk.JSON ", True), ("jsonw-4", False)],
)
def test_is_json(path_text: Any, text: str, told: bool) -> None:
    assert path_text.is_json(text) is told
