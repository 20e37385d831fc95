"""ComfyUI's 3D camera, compared with three.js r170 (`PerspectiveCamera.lookAt`, `Vector3.project`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hyworld import InputError
from hyworld.camera.load3d import pose_from_load3d

# position, target, camera.quaternion, and where three.js projects POINTS (fov 35°, 16:9, normalised device x and y).
THREE = [
    ((1, 2, 3), (0, 0.5, 0), (-0.21681359390176935, 0.156270396838205, 0.03518400271107633, 0.9629815753817179),
     ((0.13054880033244168, -0.32326369606128413), (0.5850520311194612, 0.5943385712959608))),
    ((-4, 0.5, -2), (1, 3, 2), (-0.0801589333769578, 0.8857379592075704, -0.1667806685321189, -0.4257076715572041),
     ((-0.4401953452675896, -1.4791628319926764), (-0.949675168216374, -0.8514589869921814))),
    ((0, 0, 5), (0, 0, 0), (0, 0, 0, 1),
     ((0.10922584140791677, 0.1294528490760495), (0.2973370127215512, 0.5285991337272021))),
]  # fmt: skip

POINTS = np.array([(0.3, 0.2, 0.1), (1, 1, -1)])


def camera(position: Any, target: Any, quaternion: Any = None) -> dict[str, Any]:
    """As in ComfyUI 0.3.64, with the quaternion as in 0.33."""
    vectors = {"position": position, "target": target, "quaternion": quaternion}
    return {
        **{key: dict(zip("xyzw", value, strict=False)) for key, value in vectors.items() if value is not None},
        "zoom": 1,
        "cameraType": "perspective",
    }


@pytest.mark.parametrize(("position", "target", "quaternion", "projected"), THREE)
def test_sees_what_three_js_sees(position: Any, target: Any, quaternion: Any, projected: Any) -> None:
    for given in (None, quaternion, [-2 * value for value in quaternion]):
        pose = pose_from_load3d(camera(position, target, given))
        x, y, z = np.linalg.inv(pose)[:3] @ np.append(POINTS * (1, -1, -1), [[1], [1]], 1).T
        tangent = np.tan(np.radians(35 / 2))
        np.testing.assert_allclose(np.stack((x / z / tangent / (16 / 9), -y / z / tangent), 1), projected, atol=1e-9)
        np.testing.assert_allclose(pose[:3, 3], np.array(position) * (1, -1, -1))


def test_the_quaternion_wins_because_it_knows_of_roll() -> None:
    pose = pose_from_load3d(camera((0, 0, 0), (0, 0, -1), (0, 0, np.sin(0.5), np.cos(0.5))))
    np.testing.assert_allclose(pose[:3, 2], (0, 0, 1), atol=1e-12)
    np.testing.assert_allclose(pose[:3, 0], (np.cos(1), -np.sin(1), 0), atol=1e-12)


@pytest.mark.parametrize("down", [1, -1])
def test_straight_up_and_down(down: int) -> None:
    pose = pose_from_load3d(camera((0, 2 * down, 0), (0, 0, 0)))
    np.testing.assert_allclose(pose[:3, 2], (0, down, 0), atol=1e-12)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({}, 'must have a "position" with x, y, z, got None'),
        ({"position": [1, 2, 3]}, 'must have a "position" with x, y, z'),
        (camera((1, 2), (0, 0, 0)), 'position: the key "z" is missing'),
        (camera((1, 2, float("nan")), (0, 0, 0)), '"z" must be a finite number, got nan'),
        (camera((1, 2, 3), (1, 2, 3)), "are the same point"),
        (camera((1, 2, 3), (1, 2, 3), (0, 0, 0, 0)), "a quaternion of length 1"),
        (camera((1, 2, 1e9), (1, 2, 3)), "numbers up to 1e+06"),
    ],
)
def test_what_is_refused(wrong: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as error:
        pose_from_load3d(wrong)
    assert expected in str(error.value)
    assert str(error.value).startswith("The 3D camera")
