"""Camera paths of other programs: compared with files that the programs wrote, and with the programs where installed.

data/scene.blender.json: Blender 5.0.1 (module bpy), a camera on a scaled and turned rig, written by `blender_addon.py`;
    "projected" holds where Blender's `world_to_camera_view` sees "points" (x, y from bottom left, depth).
data/colmap: pycolmap 4.2.1, three images of two cameras. data/transforms.json: the same model through nerfstudio
    1.1.5's `colmap_to_json`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyworld import InputError, Speeds, Trajectory
from hyworld.camera import formats
from hyworld.camera.formats import blender, colmap, nerfstudio
from hyworld.camera.pose_json import PoseData

DATA = Path(__file__).parent / "data"

WALK = "w-5, w+right-6, up-3, d+left-7"

TARGETS = ("transforms.json", "walk.blender.json", "walk.npz", "sparse/", "walk.json")


def lens_of(focal_x: float, focal_y: float) -> list[list[float]]:
    return [[focal_x, 0, 0.5], [0, focal_y, 0.5], [0, 0, 1]]


def seen(poses: PoseData, i: int, points: np.ndarray) -> np.ndarray:
    """x and y in parts of the picture (from the top left) and depth of points of our world."""
    camera = np.linalg.inv(poses.c2w[i])
    rays = (camera[:3, :3] @ points.T + camera[:3, 3:]).T
    plane = rays / rays[:, 2:] @ poses.intrinsics[i].T
    return np.concatenate((plane[:, :2], rays[:, 2:]), 1)


@pytest.mark.parametrize("every_frame", [False, True])
@pytest.mark.parametrize("target", TARGETS)
def test_what_is_written_is_read_again(tmp_path: Path, target: str, every_frame: bool) -> None:
    path = Trajectory.from_tokens(WALK)
    name = f"{tmp_path}/{target}"
    if target == "walk.json" and every_frame:
        with pytest.raises(InputError, match="one pose per latent and none per frame"):
            path.save(name, every_frame=True)
        assert not list(tmp_path.iterdir())
        return
    files = path.save(name, every_frame=every_frame)
    assert all(file.is_file() for file in files)
    again = Trajectory.load(name, fps=16 if every_frame and target == "sparse/" else None)
    np.testing.assert_allclose(again.c2w, path.c2w, rtol=0, atol=1e-12)
    np.testing.assert_allclose(again.intrinsics, path.intrinsics, rtol=0, atol=1e-9)
    assert again.labels.tolist() == path.labels.tolist()
    assert (again.notes == ()) is not every_frame


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3), st.lists(st.floats(-1, 1), min_size=4, max_size=4))
def test_any_pose_survives_every_format(position: list[float], q: list[float]) -> None:
    length = np.linalg.norm(q)
    if length < 1e-3:
        q, length = [1.0, 0.0, 0.0, 0.0], 1.0
    image = f"1 {' '.join(repr(float(v / length)) for v in q)} {' '.join(map(repr, position))} 1 a.png"
    poses = colmap.read(["1 PINHOLE 100 50 60 70 50 25"], [image], "It")
    np.testing.assert_allclose(poses.c2w[0, :3, :3].T @ poses.c2w[0, :3, 3], -np.array(position), atol=1e-9)
    again = (
        nerfstudio.read(nerfstudio.write(poses, 50, 100), "It"),
        blender.read(blender.write(poses, 50, 100), "It"),
        colmap.read(*(text.splitlines() for text in list(colmap.write(poses, 50, 100).values())[:2]), "It"),
    )
    for read in again:
        np.testing.assert_allclose(read.c2w, poses.c2w, rtol=0, atol=1e-9)
        np.testing.assert_allclose(read.intrinsics, [lens_of(0.6, 1.4)], rtol=0, atol=1e-12)


def test_the_walk_stands_upright_in_a_world_with_z_up() -> None:
    """Forward is y, up is z, and OpenGL cameras look along their -z."""
    path = Trajectory.from_tokens("w-1, up-1, d-1", Speeds(move=1, turn_deg=45))
    poses = PoseData(path.c2w, path.intrinsics)
    for written, key in (
        (nerfstudio.write(poses, 704, 1280), "transform_matrix"),
        (blender.write(poses, 704, 1280), "matrix_world"),
    ):
        frames: Any = written["frames"]
        matrices = np.array([frame[key] for frame in frames])
        np.testing.assert_allclose(matrices[:, :3, 3], [(0, 0, 0), (0, 1, 0), (0, 1, 0), (1, 1, 0)], atol=1e-12)
        half = np.sqrt(0.5)
        np.testing.assert_allclose(-matrices[:, :3, 2], [(0, 1, 0)] * 2 + [(0, half, half)] * 2, atol=1e-12)
        np.testing.assert_allclose(matrices[:2, :3, 1], [(0, 0, 1)] * 2, atol=1e-12)


# Blender ------------------------------------------------------------------------------------------------------------


def test_blenders_camera_sees_what_blender_saw() -> None:
    data = json.loads((DATA / "scene.blender.json").read_text())
    poses = formats.read(str(DATA / "scene.blender.json"))
    assert poses.seconds is not None
    np.testing.assert_allclose(poses.seconds - poses.seconds[0], np.arange(9) / 8, atol=1e-12)
    x, y, z = np.array(data["points"]).T
    points = np.stack((x, -z, y), 1)  # Blender's z is up, its y forward
    for number, expected in data["projected"].items():
        found = seen(poses, (int(number) - 1) // 3, points)
        found[:, 1] = 1 - found[:, 1]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_blenders_frames_become_latents() -> None:
    path = Trajectory.load(str(DATA / "scene.blender.json"))
    assert len(path) == 5
    assert path.notes[0].endswith("has 9 poses in 1.00 s, read as 5 latents of 0.25 s.")
    every = formats.read(str(DATA / "scene.blender.json"))
    np.testing.assert_allclose(path.c2w, every.c2w[::2], atol=1e-9)


@pytest.mark.parametrize(
    ("fit", "size", "expected"),
    [
        ("AUTO", (200, 100), (1.0, 2.0)),
        ("AUTO", (100, 200), (2.0, 1.0)),
        ("HORIZONTAL", (100, 200), (1.0, 0.5)),
        ("VERTICAL", (200, 100), (0.75, 1.5)),
    ],
)
def test_blenders_sensor_fit(fit: str, size: tuple[int, int], expected: tuple[float, float]) -> None:
    """The numbers of `bpy.types.Object.calc_matrix_camera` for lens 36 mm, sensor 36 x 24 mm."""
    frame = {"frame": 1, "matrix_world": np.eye(4).tolist(), "lens": 36, "sensor_width": 36, "sensor_height": 24}
    data = {"fps": 24, "width": size[0], "height": size[1], "pixel_aspect_x": 1, "pixel_aspect_y": 1}
    poses = blender.read({**data, "frames": [{**frame, "sensor_fit": fit}]}, "It")
    np.testing.assert_allclose(poses.intrinsics, [lens_of(*expected)], atol=1e-12)


# nerfstudio ---------------------------------------------------------------------------------------------------------


def test_nerfstudio_and_colmap_agree_on_the_same_model() -> None:
    """`applied_transform` is taken back; frames of both are in the order of their names' numbers."""
    a, b = formats.read(str(DATA / "transforms.json")), formats.read(f"{DATA / 'colmap'}/")
    np.testing.assert_allclose(a.c2w, b.c2w, rtol=0, atol=1e-12)
    np.testing.assert_allclose(a.intrinsics, b.intrinsics, rtol=0, atol=1e-12)
    for poses in (a, b):
        assert len(poses.notes) == 1
        assert "has lens distortion, which is left out" in poses.notes[0]


def transforms(**changes: Any) -> dict[str, Any]:
    frames = [{"file_path": f"images/{i}.png", "transform_matrix": np.eye(4).tolist()} for i in range(3)]
    return {"w": 200, "h": 100, "fl_x": 100, "fl_y": 80, "cx": 100, "cy": 50, "frames": frames, **changes}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (0.5, 0.8)),
        ({"fl_y": None}, (0.5, 1.0)),
        ({"w": None, "h": None}, (0.5, 0.8)),
        ({"fl_x": None, "fl_y": None, "camera_angle_x": np.pi / 2}, (0.5, 1.0)),
        ({"fl_x": None, "fl_y": None, "camera_angle_x": np.pi / 2, "camera_angle_y": np.pi / 2}, (0.5, 0.5)),
        # NeRF's synthetic scenes.
        (dict.fromkeys(("w", "h", "cx", "cy", "fl_x", "fl_y")) | {"camera_angle_x": np.pi / 2}, (0.5, 0.5)),
    ],
)
def test_nerfstudios_ways_to_tell_a_lens(changes: dict[str, Any], expected: tuple[float, float]) -> None:
    np.testing.assert_allclose(nerfstudio.read(transforms(**changes), "It").intrinsics, [lens_of(*expected)] * 3)


def test_nerfstudios_own_changes_of_the_world_are_taken_back() -> None:
    """As its `transform_poses_to_original_space`: divided by the scale, then the inverse transform."""
    applied = [[0, 1, 0, 3], [1, 0, 0, 2], [0, 0, -1, 1]]
    data = transforms(applied_transform=applied, applied_scale=0.5)
    for frame in data["frames"]:
        frame["transform_matrix"][0][3] = 4.0
    poses = nerfstudio.read(data, "It")
    np.testing.assert_allclose(poses.c2w[0, :3, 3], (-2, 5, 1), atol=1e-12)
    np.testing.assert_allclose(poses.c2w[0, :3, 2], (0, 0, 1), atol=1e-12)


def test_a_frame_of_nerfstudio_may_have_a_lens_of_its_own() -> None:
    data = transforms()
    data["frames"][1]["fl_x"] = 50
    assert nerfstudio.read(data, "It").intrinsics[:, 0, 0].tolist() == [0.5, 0.25, 0.5]


def test_frames_are_sorted_by_the_numbers_in_their_names() -> None:
    data = transforms()
    for frame, name, x in zip(data["frames"], ("r_10", "r_9", "r_08"), (3.0, 2.0, 1.0), strict=True):
        frame["file_path"] = name
        frame["transform_matrix"][0][3] = x
    assert nerfstudio.read(data, "It").c2w[:, 0, 3].tolist() == [1, 2, 3]


def test_timestamps_are_seconds_and_fractions_are_not() -> None:
    data = transforms()
    for frame, time in zip(data["frames"], (5.0, 5.25, 6.0), strict=True):
        frame["timestamp"] = time
    assert len(Trajectory.load(json.dumps(data))) == 5
    assert len(Trajectory.load(json.dumps(data), fps=4)) == 3
    for frame, time in zip(data["frames"], (0.0, 0.5, 1.0), strict=True):
        del frame["timestamp"]
        frame["time"] = time
    path = Trajectory.load(json.dumps(data))
    assert len(path) == 3
    assert 'The "time" of the camera path runs from 0 to 1' in path.notes[0]


# COLMAP -------------------------------------------------------------------------------------------------------------


def test_colmaps_cameras_stand_where_colmap_says() -> None:
    """Numbers of pycolmap's `projection_center`, `viewing_direction` and `project_point`."""
    poses = formats.read(f"{DATA / 'colmap' / 'images.txt'}")
    np.testing.assert_allclose(
        poses.c2w[:, :3, 3],
        [
            (-2.9989584999039147, 1.0361229849608824, -1.1780712744034083),
            (-0.1016132627293338, -3.1066553792560816, 6.279847027238333),
            (-3.2838343633401097, 1.5858860912215724, -2.400911532899851),
        ],
        atol=1e-12,
    )
    np.testing.assert_allclose(
        poses.c2w[:, :3, 2],
        [
            (0.35937440624266614, 0.6379857237486641, -0.6810464392613949),
            (-0.9681207483256471, 0.17754767778395175, 0.17668910202645516),
            (0.41539287338949876, -0.3143179914983467, 0.8536117155695915),
        ],
        atol=1e-12,
    )
    point = np.array([[-1.4269509601462456, -0.271292052952226, 1.8690853485681362]])
    np.testing.assert_allclose(seen(poses, 2, point)[0, :2] * (640, 480), (350, 260), atol=1e-9)


def test_pictures_are_named_as_ffmpeg_numbers_the_frames_of_the_video(tmp_path: Path) -> None:
    path = Trajectory.from_tokens("w-2")
    for every_frame, expected in ((False, [1, 5, 9]), (True, list(range(1, 10)))):
        path.save(f"{tmp_path}/sparse/", every_frame=every_frame, overwrite=True)
        names = [line.split()[9] for line in (tmp_path / "sparse" / "images.txt").read_text().splitlines()[1::2]]
        assert names == [f"frame_{n:05d}.png" for n in expected]
        path.save(f"{tmp_path}/transforms.json", every_frame=every_frame, overwrite=True)
        frames = json.loads((tmp_path / "transforms.json").read_text())["frames"]
        assert [frame["file_path"] for frame in frames] == [f"frames/{name}" for name in names]


# Files --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("w-3, right-2", False),
        ('{"0": "a/b.json"}', False),
        ("[1]/.json", False),
        ("walk.NPZ", True),
        ("sparse/0", True),
        ("sparse/", True),
        ("C:\\walks\\sparse", True),
        ("images.txt", True),
        ("sparse", False),
    ],
)
def test_what_is_taken_for_a_file(source: str, expected: bool) -> None:
    assert formats.names_file(source) is expected


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    path = Trajectory.from_tokens("w-3")
    for target in TARGETS:
        name = f"{tmp_path}/{target}"
        files = path.save(name)
        before = [file.read_bytes() for file in files]
        with pytest.raises(InputError, match=r"exists already: choose another name or add --overwrite"):
            Trajectory.from_tokens("s-7").save(name)
        assert [file.read_bytes() for file in files] == before
        Trajectory.from_tokens("s-7").save(name, overwrite=True)
        assert [file.read_bytes() for file in files][-1:] != before[-1:] or target == "sparse/"
    assert not [file for file in tmp_path.rglob("*") if file.name.endswith(".part")]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("walk.bvh", "does not say which format to write: the name must be transforms.json"),
        ("none/walk.npz", "The folder .*none does not exist"),
        ("none/sparse/", "The folder .*none does not exist"),
        ("file/", "is a file: give the name of the folder"),
        ("model/", "holds a model of COLMAP that would no longer fit"),
    ],
)
def test_targets_that_are_refused(tmp_path: Path, target: str, expected: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "images.bin").write_text("")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=expected):
        Trajectory.from_tokens("w-3").save(f"{tmp_path}/{target}", overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_disk_that_refuses_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
        Trajectory.from_tokens("w-3").save(f"{tmp_path}/sparse/")
    assert list(tmp_path.iterdir()) == []


# The programs themselves --------------------------------------------------------------------------------------------


def real(module: str, program: str, *arguments: object) -> Any:
    """What a program prints as JSON, run in a process of its own with a real package; skips where that is missing."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_colmap_reads_our_model(tmp_path: Path) -> None:
    path = Trajectory.from_tokens(WALK)
    path.save(f"{tmp_path}/sparse/")
    program = """
import json, sys, pycolmap
model = pycolmap.Reconstruction(sys.argv[1])
images = sorted(model.images.values(), key=lambda image: image.name)
print(json.dumps([[i.projection_center().tolist(), i.viewing_direction().tolist(), i.camera.params.tolist()]
                  for i in images]))
"""
    centres, directions, parameters = zip(*real("pycolmap", program, tmp_path / "sparse"), strict=True)
    np.testing.assert_allclose(centres, path.c2w[:, :3, 3], atol=1e-12)
    np.testing.assert_allclose(directions, path.c2w[:, :3, 2], atol=1e-12)
    K = path.intrinsics[0]
    np.testing.assert_allclose(parameters, [(K[0, 0] * 1280, K[1, 1] * 704, 640, 352)] * len(path), atol=1e-9)


def test_blender_takes_our_path_and_gives_it_back(tmp_path: Path) -> None:
    """Through the add-on's own menu entries; between the keys too."""
    path = Trajectory.from_tokens(WALK)
    path.save(f"{tmp_path}/walk.blender.json")
    addon = Path(blender.__file__).with_name("blender_addon.py")
    program = """
import json, runpy, sys, bpy
addon = runpy.run_path(sys.argv[1])
bpy.ops.wm.read_factory_settings(use_empty=True)
addon["register"]()
bpy.ops.import_scene.hyworld_camera(filepath=sys.argv[2])
bpy.ops.export_scene.hyworld_camera(filepath=sys.argv[3])
scene = bpy.context.scene
P = scene.camera.calc_matrix_camera(bpy.context.evaluated_depsgraph_get(), x=1280, y=704,
    scale_x=scene.render.pixel_aspect_x, scale_y=scene.render.pixel_aspect_y)
print(json.dumps([scene.frame_start, scene.frame_end, P[0][0] / 2, P[1][1] / 2]))
"""
    first, last, fx, fy = real("bpy", program, addon, tmp_path / "walk.blender.json", tmp_path / "back.json")
    assert (first, last) == (1, 1 + 4 * (len(path) - 1))
    np.testing.assert_allclose((fx, fy), path.intrinsics[0, [0, 1], [0, 1]], rtol=1e-6)
    again = Trajectory.load(f"{tmp_path}/back.json")
    np.testing.assert_allclose(again.c2w, path.c2w, rtol=0, atol=1e-5)
    path.save(f"{tmp_path}/transforms.json", every_frame=True)
    between = formats.read(f"{tmp_path}/transforms.json").c2w
    np.testing.assert_allclose(formats.read(f"{tmp_path}/back.json").c2w, between, rtol=0, atol=1e-5)


def test_the_addon_runs_in_the_background(tmp_path: Path) -> None:
    path = Trajectory.from_tokens("w-3")
    path.save(f"{tmp_path}/walk.blender.json")
    addon = Path(blender.__file__).with_name("blender_addon.py")
    program = """
import json, runpy, sys, bpy
addon, walk, blend, back = sys.argv[1:]
for arguments in (["import", walk, blend], ["export", back]):
    sys.argv = ["blender", "--background", "--python", addon, "--", *arguments]
    runpy.run_path(addon, run_name="__main__")
print(json.dumps(len(bpy.data.cameras)))
"""
    real("bpy", program, addon, tmp_path / "walk.blender.json", tmp_path / "walk.blend", tmp_path / "back.json")
    assert os.path.getsize(tmp_path / "walk.blend") > 1000
    np.testing.assert_allclose(Trajectory.load(f"{tmp_path}/back.json").c2w, path.c2w, atol=1e-6)
