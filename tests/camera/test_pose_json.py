"""Reading pose JSON: any order, and every mistake refused in one sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hyworld import InputError, Trajectory

Data = dict[str, Any]


def walk() -> Data:
    """Three poses, valid."""
    return Trajectory.from_tokens("w-1, right-1").to_json()


def changed(**changes: Any) -> Callable[[Data], None]:
    return lambda data: data["1"].update(changes)


def without(key: str) -> Callable[[Data], None]:
    return lambda data: data["1"].pop(key)


def extrinsic(change: Callable[[np.ndarray], Any]) -> Callable[[Data], None]:
    def apply(data: Data) -> None:
        pose = np.array(data["1"]["extrinsic"])
        result = change(pose)
        data["1"]["extrinsic"] = (pose if result is None else result).tolist()

    return apply


def intrinsics(row: int, column: int, value: float) -> Callable[[Data], None]:
    return lambda data: data["1"]["K"][row].__setitem__(column, value)


def test_order_of_the_keys_does_not_matter() -> None:
    data = Trajectory.from_tokens("w-11").to_json()
    backwards = dict(reversed(data.items()))
    assert (Trajectory.from_json(backwards).c2w == Trajectory.from_json(data).c2w).all()


def test_intrinsics_are_normalised() -> None:
    data = walk()
    for pose in data.values():
        pose["K"] = [[500.0, 0, 250.0], [0, 300.0, 100.0], [0, 0, 1]]
    expected = [[1.0, 0, 0.5], [0, 1.5, 0.5], [0, 0, 1]]
    assert Trajectory.from_json(data).intrinsics.tolist() == [expected] * 3


def test_labels_in_the_file_win() -> None:
    data = walk()
    for i, pose in enumerate(data.values()):
        pose["label"] = 10 + i
    assert Trajectory.from_json(data, third_person=True).labels.tolist() == [10, 11, 12]


def test_slightly_rounded_rotations_are_accepted() -> None:
    data = walk()
    data["2"]["extrinsic"] = np.round(data["2"]["extrinsic"], 4).tolist()
    assert len(Trajectory.from_json(data)) == 3


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (without("extrinsic"), 'pose 1: the key "extrinsic" is missing; add a 4×4 camera-to-world matrix'),
        (without("K"), 'pose 1: the key "K" is missing; add a 3×3 matrix in pixels'),
        (lambda data: data.update({"1": 5}), 'pose 1 must be an object with the keys "extrinsic" and "K", got 5'),
        (changed(extrinsic=[[1, 2], [3, 4]]), r"pose 1: extrinsic must be a 4×4 matrix, got the shape \[2, 2\]"),
        (changed(extrinsic=[[1, 2], [3]]), "pose 1: extrinsic must be a 4×4 matrix of numbers"),
        (changed(extrinsic="forward"), "pose 1: extrinsic must be a 4×4 matrix of numbers"),
        (changed(extrinsic=[[10**400] * 4] * 4), "pose 1: extrinsic must be a 4×4 matrix of numbers"),
        (changed(K=[[1, 0, 1]]), r"pose 1: K must be a 3×3 matrix, got the shape \[1, 3\]"),
        (changed(K=None), r"pose 1: K must be a 3×3 matrix, got the shape \[\]"),
        (extrinsic(lambda m: m.__setitem__((0, 3), math.nan)), "pose 1: extrinsic must hold finite numbers"),
        (extrinsic(lambda m: m.__setitem__((0, 3), math.inf)), "pose 1: extrinsic must hold finite numbers"),
        (
            extrinsic(lambda m: m.__setitem__((0, 3), -1e7)),
            r"pose 1: extrinsic must hold numbers up to 1e\+06, got 1e\+07",
        ),
        (intrinsics(0, 0, math.nan), "pose 1: K must hold finite numbers"),
        (intrinsics(0, 0, 1e-3), "pose 1: K must have a focal length of 0.01 to 100 times .*fx / 2cx = "),
        (intrinsics(1, 2, 1e-3), "pose 1: K must have a focal length of 0.01 to 100 times .*fy / 2cy = "),
        (extrinsic(lambda m: m.T.copy()), "the position in the last column, got the last row 0 0 0.08 1"),
        (extrinsic(lambda m: m * [[2], [2], [2], [1]]), r"not orthonormal \(off by 3\); remove scale and shear"),
        (extrinsic(lambda m: m @ np.diag([1, 1, -1.0, 1])), "it mirrors"),
        (intrinsics(0, 0, 0.0), "with fx > 0, got 0"),
        (intrinsics(1, 1, -5.0), "with fy > 0, got -5"),
        (intrinsics(0, 2, 0.0), "with cx > 0, got 0"),
        (intrinsics(1, 2, -1.0), "with cy > 0, got -1"),
        (changed(label=3), '"label" at 1 of its 3 poses: give one to every pose or to none'),
        (changed(label=81), "pose 1: label must be a whole number from 0 to 80, got 81"),
        (changed(label=1.5), "pose 1: label must be a whole number from 0 to 80, got 1.5"),
        (lambda data: data.pop("1"), 'number its 2 poses from "0" to "1": "1" is missing and "2" is not such a number'),
        (lambda data: data.update({"fps": {}}), '"3" is missing and "fps" is not such a number'),
        (lambda data: data.clear(), "must be a non-empty JSON object"),
    ],
)
def test_what_is_refused_and_how(spoil: Callable[[Data], Any], expected: str) -> None:
    data = walk()
    spoil(data)
    with pytest.raises(InputError, match=expected) as error:
        Trajectory.from_json(data)
    message = str(error.value)
    assert message.startswith("The camera path")
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", r"is not valid JSON \(.*line 1"),
        ("[1]", "must be a non-empty JSON object"),
        ("{}", "must be a non-empty JSON object"),
        ("[" * 200_000, "is nested too deeply"),
    ],
)
def test_json_text_that_is_no_path(text: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        Trajectory.load(text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    missing, binary, broken, folder = (tmp_path / f"{name}.json" for name in ("missing", "binary", "broken", "folder"))
    binary.write_bytes(b"\xff\xfe\x00\x81")
    broken.write_text("{]")
    folder.mkdir()
    for file, expected in (
        (missing, "does not exist: check the path"),
        (binary, "cannot be read as text"),
        (broken, "is not valid JSON"),
        (folder, "cannot be read as text"),
    ):
        with pytest.raises(InputError, match=expected) as error:
            Trajectory.load(str(file))
        assert f'The camera file "{file}"' in str(error.value)


def test_errors_in_a_file_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "walk.json"
    data = walk()
    del data["2"]["K"]
    file.write_text(json.dumps(data))
    with pytest.raises(InputError) as error:
        Trajectory.load(str(file))
    assert str(error.value) == (
        f'The camera file "{file}", pose 2: the key "K" is missing; add a 3×3 matrix in pixels.'
    )
