"""ComfyUI's LOAD3D_CAMERA: the camera of its 3D viewer (three.js: y up, looking along -z)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .formats.common import OPENGL, number
from .pose_json import extrinsic
from .quaternions import to_rotations

NAME = "The 3D camera"


def pose_from_load3d(camera: Mapping[str, object]) -> NDArray[np.float64]:
    """Camera-to-world `[4, 4]` (x right, y down, z forward), in the viewer's units.

    The rotation is the "quaternion" if there is one (newer ComfyUI), else from "position" to "target" with y up.
    Zoom and field of view are left out: they are no part of a pose.

    Raises `InputError` if position, target or quaternion is missing or malformed.
    """
    position = _vector(camera, "position", "xyz")
    if camera.get("quaternion") is not None:
        x, y, z, w = _vector(camera, "quaternion", "xyzw")
        length = np.linalg.norm((x, y, z, w))
        if length < 1e-6:
            raise InputError(f"{NAME} must have a quaternion of length 1, got 0.")
        R = to_rotations(np.array([[w, x, y, z]]) / length)[0]
    else:
        R = _looking(_vector(camera, "target", "xyz") - position)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = R, position
    # World and camera have the same axes in three.js, so both are turned over.
    return extrinsic(OPENGL @ pose @ OPENGL, NAME)


def _looking(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation of a camera that looks along `direction`, its x level, as three.js turns it."""
    length = np.linalg.norm(direction)
    if length < 1e-9:
        raise InputError(f'{NAME} must look somewhere, but its "position" and "target" are the same point.')
    backward = -direction / length
    right = np.cross((0.0, 1.0, 0.0), backward)
    if np.linalg.norm(right) < 1e-6:  # straight up or down, where any x is level
        right = np.array([1.0, 0.0, 0.0])
    right /= np.linalg.norm(right)
    return np.stack((right, np.cross(backward, right), backward), 1)


def _vector(camera: Mapping[str, object], key: str, axes: str) -> NDArray[np.float64]:
    values = camera.get(key)
    if not isinstance(values, Mapping):
        raise InputError(f'{NAME} must have a "{key}" with {", ".join(axes)}, got {values!s:.40}.')
    return np.array([number(values, axis, f"{NAME}: {key}") for axis in axes])
