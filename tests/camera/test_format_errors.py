"""Files that are no camera paths: refused in one sentence, whatever is in them."""

from __future__ import annotations

import io
import json
import math
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyworld import InputError, Trajectory
from hyworld.camera import formats
from hyworld.camera.formats import colmap, npz

CAMERA = "1 PINHOLE 100 50 60 70 50 25"
IMAGE = "1 1 0 0 0 0 0 0 1 a.png"


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(InputError) as error:
        act()
    message = str(error.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


def transforms(**changes: Any) -> dict[str, Any]:
    frame = {"file_path": "a.png", "transform_matrix": np.eye(4).tolist(), **changes.pop("frame", {})}
    return {"w": 200, "h": 100, "fl_x": 100, "frames": [frame], **changes}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (transforms(frames=[]), 'a list "frames" with at least one camera'),
        (transforms(frames={"a": 1}), 'a list "frames" with at least one camera'),
        (transforms(frames=[3]), "frame 0 must be an object, got 3"),
        (transforms(frame={"transform_matrix": [[1, 2], [3, 4]]}), r"transform_matrix must be a 4×4 matrix, got the"),
        (transforms(frame={"transform_matrix": np.full((4, 4), math.nan).tolist()}), "finite numbers"),
        (transforms(frame={"transform_matrix": np.diag([2.0, 2, 2, 1]).tolist()}), "rotation is not orthonormal"),
        (transforms(frames=[{"file_path": "a"}]), r'frame 0 \(a\): the key "transform_matrix" is missing'),
        (transforms(fl_x=None), 'no focal length; add "fl_x" in pixels'),
        (transforms(w=None), '"fl_x" in pixels but not the size of the picture; add "w"'),
        (transforms(w=0), "a picture larger than 0 pixels"),
        (transforms(fl_x=0), "must have a focal length above 0"),
        (transforms(fl_x=math.nan), '"fl_x" must be a finite number, got nan'),
        (transforms(fl_x="wide"), '"fl_x" must be a finite number, got wide'),
        (transforms(fl_x=10**400), '"fl_x" must be a finite number'),
        (transforms(fl_x=1e5), "a focal length of 0.01 to 100 times the picture's size, got 500"),
        (transforms(fl_x=None, camera_angle_x=4), "must be an angle of 0 to π"),
        (transforms(camera_model="OPENCV_FISHEYE"), "has the camera model OPENCV_FISHEYE; give perspective cameras"),
        (transforms(applied_transform=[[1, 0, 0, 0]]), "applied_transform must be a 4×4 matrix"),
        (transforms(applied_transform=np.diag([1, 1, -1, 1]).tolist()), "without scale or mirroring"),
        (transforms(applied_transform=np.eye(4).tolist(), applied_scale=0), "applied_scale must be above 0"),
        (transforms(applied_transform=np.eye(3, 4).tolist(), applied_scale=1e-9, frame={"transform_matrix": [
            [1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}), "applied_scale must be above 0 and leave"),
        (transforms(frames=[{"timestamp": 0}, {}]), "transform_matrix"),
    ],
)  # fmt: skip
def test_transforms_json(data: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        Trajectory.load(json.dumps(data))
    refusal(lambda: Trajectory.load(json.dumps(data)))


def test_times_of_some_frames_or_backwards() -> None:
    data = transforms()
    data["frames"] = [{**data["frames"][0], "file_path": name} for name in "abc"]
    data["frames"][0]["timestamp"] = 1
    assert '"timestamp" at 1 of its 3 frames' in refusal(lambda: Trajectory.load(json.dumps(data)))
    for times, expected in (((3, 2, 1), "times that grow"), ((0, 1, 1e15), "more than 100000 latents")):
        for frame, time in zip(data["frames"], times, strict=True):
            frame["timestamp"] = time
        assert expected in refusal(lambda: Trajectory.load(json.dumps(data)))


def blender(**changes: Any) -> str:
    frame = {"frame": 1, "matrix_world": np.eye(4).tolist(), "lens": 50, "sensor_width": 36, "sensor_height": 24}
    data = {"fps": 24, "width": 200, "height": 100, "pixel_aspect_x": 1, "pixel_aspect_y": 1}
    return json.dumps({**data, "frames": [{**frame, **changes.pop("frame", {})}], **changes})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (blender(fps=0), '"fps" must be above 0'),
        (blender(fps=None), 'the key "fps" is missing'),
        (blender(width=0), "width above 0"),
        (blender(pixel_aspect_y=-1), "height above 0"),
        (blender(frame={"lens": 0}), "focal length above 0"),
        (blender(frame={"sensor_width": 0}), "a sensor wider than 0 mm"),
        (blender(frame={"sensor_fit": "DIAGONAL"}), '"sensor_fit" must be one of AUTO, HORIZONTAL, VERTICAL'),
        (blender(frame={"type": "ORTHO"}), "has a camera of type ORTHO"),
        (blender(frame={"matrix_world": np.zeros((4, 4)).tolist()}), "must not have a scale of 0"),
        (blender(frame={"matrix_world": np.diag([-1.0, 1, 1, 1]).tolist()}), "it mirrors"),
        (blender(frames=[json.loads(blender())["frames"][0]] * 2), "times that grow"),
    ],
)
def test_blender_json(text: str, expected: str) -> None:
    assert expected in refusal(lambda: Trajectory.load(text))


@pytest.mark.parametrize(
    ("camera", "image", "expected"),
    [
        ("1 PINHOLE 100", IMAGE, "cameras.txt, line 2 must be CAMERA_ID MODEL WIDTH HEIGHT PARAMS"),
        ("1 OPENCV_FISHEYE 100 50 1 1 1 1 0 0 0 0", IMAGE, "has the camera model OPENCV_FISHEYE; supported are SIMPLE"),
        ("1 PINHOLE 100 50 60 70", IMAGE, "PINHOLE needs 4 or more parameters, got 2"),
        ("1 PINHOLE 100 50 60 nan 50 25", IMAGE, "must hold finite numbers, got nan"),
        ("1 PINHOLE 0 50 60 70 50 25", IMAGE, "width above 0"),
        ("x PINHOLE 100 50 60 70 50 25", IMAGE, "a whole number as CAMERA_ID, got x"),
        (CAMERA, "1 1 0 0 0 0 0 0 1", "images.txt, line 2 must be IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"),
        (CAMERA, "1 0 0 0 0 0 0 0 1 a.png", "a quaternion QW QX QY QZ of length 1, got the length 0"),
        (CAMERA, "1 1 0 0 0 inf 0 0 1 a.png", "must hold finite numbers, got inf"),
        (CAMERA, "1 1 0 0 0 1e9 0 0 1 a.png", r"a translation up to 1e+06, got 1e+09"),
        (CAMERA, "1 1 0 0 0 0 0 0 2 a.png", "the image a.png has the camera 2, which cameras.txt lacks"),
        (CAMERA, "# nothing", "has no images in its images.txt"),
    ],
)
def test_colmap_text(tmp_path: Path, camera: str, image: str, expected: str) -> None:
    (tmp_path / "cameras.txt").write_text(f"# cameras\n{camera}\n")
    (tmp_path / "images.txt").write_text(f"# images\n{image}\n\n")
    message = refusal(lambda: Trajectory.load(f"{tmp_path}/"))
    assert expected in message
    assert str(tmp_path) in message


def test_colmap_folders_without_a_text_model(tmp_path: Path) -> None:
    assert "does not exist, with cameras.txt and images.txt in it" in refusal(
        lambda: Trajectory.load(f"{tmp_path}/none/")
    )
    (tmp_path / "images.bin").write_bytes(b"")
    assert "colmap model_converter --output_type TXT" in refusal(lambda: Trajectory.load(f"{tmp_path}/"))


def test_points_lines_are_skipped_though_they_look_like_images() -> None:
    poses = colmap.read([CAMERA], [IMAGE, "2 1 0 0 0 9 9 9 1 b.png", "# note", "3 1 0 0 0 1 2 3 1 c.png"], "It")
    assert poses.c2w[:, :3, 3].tolist() == [[0, 0, 0], [-1, -2, -3]]


def archive(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


GOOD = {
    "extrinsics_c2w": np.tile(np.eye(4), (3, 1, 1)),
    "intrinsics": np.array([[1.0, 0, 0.5], [0, 2, 0.5], [0, 0, 1]]),
}


@pytest.mark.parametrize(
    ("intrinsics"),
    [
        GOOD["intrinsics"],
        np.tile(GOOD["intrinsics"], (3, 1, 1)),
        np.array([[640.0, 0, 320], [0, 800, 200], [0, 0, 1]], np.float32),
        np.tile([1280, 720, 640, 180], (3, 1)),
        np.asfortranarray(np.tile([1.0, 2.0, 0.5, 0.5], (3, 1))),
    ],
)
def test_intrinsics_of_an_npz_in_pixels_or_normalised(tmp_path: Path, intrinsics: Any) -> None:
    (tmp_path / "walk.npz").write_bytes(archive(**{**GOOD, "intrinsics": intrinsics}))
    path = Trajectory.load(f"{tmp_path}/walk.npz")
    np.testing.assert_allclose(path.intrinsics, np.tile(GOOD["intrinsics"], (3, 1, 1)))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"extrinsics_c2w": None}, 'has no array "extrinsics_c2w"'),
        ({"intrinsics": None}, 'has no array "intrinsics"'),
        ({"extrinsics_c2w": np.eye(4)}, "extrinsics_c2w must have the shape [N, 4, 4], got [4, 4]"),
        ({"extrinsics_c2w": np.zeros((0, 4, 4))}, "got [0, 4, 4]"),
        ({"extrinsics_c2w": np.float64(1)}, "got []"),
        ({"extrinsics_c2w": np.full((3, 4, 4), np.nan)}, "pose 0: extrinsics_c2w must hold finite numbers"),
        ({"extrinsics_c2w": np.zeros((3, 4, 4))}, "pose 0: extrinsics_c2w must be camera-to-world"),
        ({"extrinsics_c2w": np.zeros((1,) * 9)}, "must have up to 3 dimensions"),
        ({"extrinsics_c2w": np.zeros((3, 4, 4), complex)}, '"extrinsics_c2w" must hold numbers, got complex128'),
        ({"extrinsics_c2w": np.array(["a"])}, '"extrinsics_c2w" must hold numbers, got <U1'),
        ({"extrinsics_c2w": np.array([None])}, '"extrinsics_c2w" must hold numbers, got object'),
        ({"intrinsics": np.zeros((2, 4))}, "intrinsics must have the shape [3, 3, 3], [3, 3] or [3, 4]"),
        ({"intrinsics": np.zeros((3, 4))}, "with fx > 0, got 0"),
        ({"fps": np.array([1, 2])}, "fps must be one number above 0, got [1.0, 2.0]"),
        ({"fps": 0}, "fps must be one number above 0, got 0.0"),
        ({"labels": [1, 2]}, "labels must be 3 whole numbers from 0 to 80"),
        ({"labels": [1, 2, 81]}, "labels must be 3 whole numbers from 0 to 80"),
    ],
)
def test_npz(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    arrays = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    (tmp_path / "walk.npz").write_bytes(archive(**arrays))
    assert expected in refusal(lambda: Trajectory.load(f"{tmp_path}/walk.npz"))


def npy(shape: tuple[int, ...], data: bytes) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue() + data


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (npy((10**12, 4, 4), b"0" * 800), "at most 100000 poses, got 1000000000000"),
        (npy((90_000, 4, 4), b"0" * 800), "do not fit its shape [90000, 4, 4]"),
        (npy((-1, -4, 4), b"0" * 128), "up to 3 dimensions, got the shape [-1, -4, 4]"),
        (npy((2, 10**9, 10**9), b"0" * 800), "do not fit its shape"),
        (npy((3, 4, 4), b"0" * 50_000_000), "do not fit its shape [3, 4, 4]"),
        (b"0" * 100, "is not an array of NumPy"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 70_000, "is not an array of NumPy"),
    ],
    ids=["claims", "short", "negative", "huge", "bomb", "text", "nested"],
)
def test_an_archive_that_lies_about_its_size_is_not_unpacked(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "walk.npz"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("extrinsics_c2w.npy", content)
    tracemalloc.start()
    try:
        assert expected in refusal(lambda: formats.read(str(file)))
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "folder.npz").mkdir()
    for name, expected in (
        ("none.npz", "does not exist: check the path"),
        ("text.npz", "is not a readable .npz archive"),
        ("folder.npz", "cannot be read"),
        ("w-\0.npz", "cannot be read"),
        ("a" * 5000 + "/", "cannot be read"),
    ):
        assert expected in refusal(lambda name=name: Trajectory.load(f"{tmp_path}/{name}"))  # type: ignore[misc]


@given(st.data())
def test_damaged_archives_never_crash(data: st.DataObject) -> None:
    content = bytearray(archive(**GOOD, fps=8, labels=[1, 2, 3]))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(InputError):
        npz.read(io.BytesIO(bytes(content[: data.draw(st.integers(0, len(content)))])), "It")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=3) | st.just(np.eye(4).tolist()),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)
KEYS = ("w", "h", "cx", "cy", "fl_x", "fl_y", "camera_angle_x", "camera_model", "applied_transform", "applied_scale",
        "fps", "width", "height", "pixel_aspect_x", "pixel_aspect_y")  # fmt: skip
FRAME_KEYS = ("file_path", "transform_matrix", "timestamp", "time", "matrix_world", "frame", "lens", "sensor_width",
              "sensor_fit", "shift_x", "type", "w", "fl_x", "k1")  # fmt: skip


@given(
    st.sampled_from([transforms(), json.loads(blender())]),
    st.dictionaries(st.sampled_from(KEYS), JSON, max_size=3),
    st.lists(st.dictionaries(st.sampled_from(FRAME_KEYS), JSON, max_size=3), min_size=1, max_size=3) | JSON,
)
def test_damaged_json_never_crashes(data: dict[str, Any], changes: dict[str, Any], frames: Any) -> None:
    if isinstance(frames, list) and all(isinstance(frame, dict) for frame in frames):
        frames = [{**data["frames"][0], **frame} for frame in frames]
    with suppress(InputError):
        Trajectory.load(json.dumps({**data, **changes, "frames": frames}))


@given(
    st.lists(st.sampled_from([CAMERA, IMAGE, "", "#", "0", "1", "nan", "1e999", "x", "PINHOLE"]), max_size=6), st.data()
)
def test_damaged_colmap_text_never_crashes(words: list[str], data: st.DataObject) -> None:
    lines = [" ".join(data.draw(st.permutations(words))), CAMERA, IMAGE]
    with suppress(InputError):
        colmap.read(data.draw(st.permutations(lines)), data.draw(st.permutations(lines)), "It")
