"""The path field: what its text is taken for, and where files lie."""

from __future__ import annotations

import json
import os
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


def test_a_folder_inside_the_input_folder_is_written_with_either_slash(path_text: Any, input_folder: Path) -> None:
    (input_folder / "poses").mkdir()
    (input_folder / "poses" / "walk.json").write_text(pose_json(5), encoding="utf-8")
    for name in ("poses/walk.json", r"poses\walk.json", "./poses/walk.json"):
        assert len(path_text.read_path(name, 0.08, 3.0, False)) == 5


SECRET = "sk-verysecret"


@pytest.fixture
def outside(input_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file beside no input folder, and ways to it from there."""
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.json"
    secret.write_text(json.dumps({"0": SECRET}), encoding="utf-8")
    (input_folder / "link.json").symlink_to(secret)
    (input_folder / "linked").symlink_to(secret.parent, target_is_directory=True)
    return secret


@pytest.mark.parametrize(
    "written",
    [
        "{path}",
        "../{folder}/secret.json",
        "a/../../{folder}/secret.json",
        "..\\{folder}\\secret.json",
        "/../{path}",
        "//localhost{path}",
        "\\\\server\\share\\secret.json",
        "\\\\?\\C:\\secret.json",
        "C:\\secret.json",
        "C:secret.json",
        "file://{path}",
        "~/secret.json",
        "~root/secret.json",
        "link.json",
        "linked/secret.json",
        "secret\0.json",
        "x" * 5000 + ".json",
        "x/" * 5000 + ".json",
    ],
)
def test_no_name_leads_out_of_the_input_folder(
    path_text: Any, pack: Any, input_folder: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setenv("HOME", str(outside.parent))
    name = written.format(path=outside, folder=outside.parent.name)
    with pytest.raises(pack("hyworld.errors").InputError, match="is not in ComfyUI's input folder") as error:
        path_text.read_path(name, 0.08, 3.0, False)
    message = str(error.value)
    assert len(message) < 250
    assert "\n" not in message
    assert SECRET not in message
    assert str(input_folder) not in message
    assert path_text.fingerprint(name) == ""


def test_what_is_no_file_is_not_opened(path_text: Any, pack: Any, input_folder: Path) -> None:
    (input_folder / "folder.json").mkdir()
    os.mkfifo(input_folder / "pipe.json")  # reading it would wait for ever
    for name in ("folder.json", "pipe.json"):
        with pytest.raises(pack("hyworld.errors").InputError, match="is not in ComfyUI's input folder"):
            path_text.read_path(name, 0.08, 3.0, False)


def test_other_folders_are_those_that_the_setting_names(
    path_text: Any, input_folder: Path, outside: Path, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    monkeypatch.setenv("HYWORLD_POSE_FOLDERS", os.pathsep.join(("", str(first), str(second))))
    (second / "walk.json").write_text(pose_json(6), encoding="utf-8")
    assert len(path_text.read_path("walk.json", 0.08, 3.0, False)) == 6
    (first / "walk.json").write_text(pose_json(5), encoding="utf-8")
    assert len(path_text.read_path("walk.json", 0.08, 3.0, False)) == 5
    (input_folder / "walk.json").write_text(pose_json(4), encoding="utf-8")
    assert len(path_text.read_path("walk.json", 0.08, 3.0, False)) == 4


GOOD = json.loads(pose_json(2))
VALUE = 713.25


def changed(**changes: Any) -> dict[str, Any]:
    return {**GOOD, "1": {**GOOD["1"], **changes}}


def matrix(row: int, column: int, *, size: int = 4) -> list[list[float]]:
    values = np.eye(size)
    values[row, column] = VALUE if size == 4 else -VALUE
    return values.tolist()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"0": SECRET}, 'pose 0 must be an object with the keys "extrinsic" and "K".'),
        (SECRET, "must be a non-empty JSON object"),
        ({SECRET: 1}, 'number its 1 poses from "0" to "0": "0" is missing.'),
        (changed(extrinsic=SECRET), "pose 1: extrinsic must be a 4×4 matrix of numbers."),
        (changed(extrinsic=[[SECRET]]), "pose 1: extrinsic must be a 4×4 matrix of numbers."),
        (changed(extrinsic=[[VALUE]]), "pose 1: extrinsic must be a 4×4 matrix, got the shape [1, 1]."),
        (changed(extrinsic=np.full((4, 4), VALUE * 1e6).tolist()), "numbers up to 1e+06; scale it down."),
        (changed(extrinsic=matrix(3, 0)), "the position in the last column."),
        (changed(extrinsic=matrix(0, 1)), "is not orthonormal; remove scale and shear."),
        (changed(K=matrix(0, 0, size=3)), "with fx > 0."),
        (changed(K=[[VALUE * 1e3, 0, 1], [0, 1, 1], [0, 0, 1]]), "times the picture's size; give fx"),
        (changed(label=SECRET), "must be a whole number from 0 to 80."),
    ],
)
def test_an_error_in_a_file_tells_nothing_that_it_holds(
    path_text: Any, pack: Any, input_folder: Path, content: Any, told: str
) -> None:
    text = json.dumps(content)
    (input_folder / "walk.json").write_text(text, encoding="utf-8")
    InputError = pack("hyworld.errors").InputError
    with pytest.raises(InputError) as error:
        path_text.read_path("walk.json", 0.08, 3.0, False)
    message = str(error.value)
    assert message.startswith('The camera file "walk.json"')
    assert told in message
    assert SECRET not in message
    assert "713" not in message
    assert str(input_folder) not in message
    if isinstance(content, dict):  # what is typed into the field is the user's own
        with pytest.raises(InputError) as error:
            path_text.read_path(text, 0.08, 3.0, False)
        assert str(error.value).startswith("The camera path")


def test_what_is_typed_may_be_shown(path_text: Any, pack: Any) -> None:
    with pytest.raises(pack("hyworld.errors").InputError, match=", got 5"):
        path_text.read_path('{"0": 5}', 0.08, 3.0, False)


@pytest.mark.parametrize("content", [b"\xff\xfe\x81", f'{{"0": {SECRET}'.encode(), b"[" * 200_000])
def test_a_file_that_is_no_json_is_refused_without_its_content(
    path_text: Any, pack: Any, input_folder: Path, content: bytes
) -> None:
    (input_folder / "walk.json").write_bytes(content)
    with pytest.raises(pack("hyworld.errors").InputError, match=r'^The camera file "walk\.json"') as error:
        path_text.read_path("walk.json", 0.08, 3.0, False)
    assert not any(part in str(error.value) for part in ("0xff", SECRET, str(input_folder)))


def test_fingerprint_changes_with_the_file_and_never_raises(path_text: Any, input_folder: Path) -> None:
    assert path_text.fingerprint("w-4") == path_text.fingerprint(None) == path_text.fingerprint(["1", 0]) == ""
    assert path_text.fingerprint("walk.json") == ""
    (input_folder / "walk.json").write_text(pose_json(4), encoding="utf-8")
    first = path_text.fingerprint(" walk.json ")
    (input_folder / "walk.json").write_text(pose_json(5), encoding="utf-8")
    assert len({"", first, path_text.fingerprint("walk.json")}) == 3
    (input_folder / "walk.json").write_bytes(b"\xff\xfe\x81")
    assert path_text.fingerprint("walk.json") not in ("", first)


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


COLMAP_CAMERAS = "1 PINHOLE 640 480 500 500 320 240\n"
COLMAP_IMAGES = "".join(f"{i} 1 0 0 0 0 0 {-0.1 * i} 1 {i}.png\n\n" for i in range(1, 6))


def test_colmap_is_named_by_its_images(path_text: Any, input_folder: Path) -> None:
    (input_folder / "sparse").mkdir()
    cameras, images = input_folder / "sparse" / "cameras.txt", input_folder / "sparse" / "images.txt"
    images.write_text(COLMAP_IMAGES, encoding="utf-8")
    with pytest.raises(Exception, match="is not in ComfyUI's input folder"):
        path_text.read_path("sparse/images.txt", 0.08, 3.0, False)
    cameras.write_text(COLMAP_CAMERAS, encoding="utf-8")
    path = path_text.read_path("sparse/images.txt", 0.08, 3.0, False)
    np.testing.assert_allclose(path.c2w[:, 2, 3], np.arange(1, 6) / 10)
    before = path_text.fingerprint("sparse/images.txt")
    cameras.write_text(COLMAP_CAMERAS.replace("500", "400"), encoding="utf-8")
    assert path_text.fingerprint("sparse/images.txt") != before


def test_no_link_leads_colmap_out_of_the_input_folder(path_text: Any, input_folder: Path, outside: Path) -> None:
    (input_folder / "sparse").mkdir()
    (input_folder / "sparse" / "images.txt").write_text(COLMAP_IMAGES, encoding="utf-8")
    (input_folder / "sparse" / "cameras.txt").symlink_to(outside)
    with pytest.raises(Exception, match="is not in ComfyUI's input folder"):
        path_text.read_path("sparse/images.txt", 0.08, 3.0, False)
