"""The pose file: `{"0": {"extrinsic": 4×4 camera-to-world, "K": 3×3 pixels}, "1": …}`, checked on reading.

The format of HY-WorldPlay (`assets/pose/*.json`). One optional key is ours: "label", the action label of a pose,
for paths whose labels do not follow from their poses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .actions import NUM_LABELS

PICTURE_CENTRE = (960.0, 540.0)
"""Principal point written to files (a 1920×1080 picture); reading divides it out again."""

RIGID_TOLERANCE = 1e-3

FORMAT = '{"0": {"extrinsic": 4×4 camera-to-world, "K": 3×3 pixels}, "1": …}'


class PoseData(NamedTuple):
    """c2w `[N, 4, 4]`, normalised intrinsics `[N, 3, 3]`, and labels `[N]` where the file gives them."""

    c2w: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    labels: NDArray[np.int64] | None


def read_json_text(text: str, name: str) -> object:
    """Parse JSON text; `name` says in the error where it came from."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{name} is not valid JSON (line {error.lineno}, column {error.colno}: {error.msg}); expected {FORMAT}."
        ) from None
    except RecursionError:
        raise InputError(f"{name} is nested too deeply; expected {FORMAT}.") from None


def read_json_file(source: str) -> object:
    """Read and parse a .json file.

    Raises:
        InputError: the file is missing, unreadable or not JSON.
    """
    path = Path(source).expanduser()
    name = f'The camera file "{source}"'
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{name} does not exist: check the path, or give pose tokens such as w-15.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read as text ({error}): choose a pose JSON file.") from None
    return read_json_text(text, name)


def poses_from_json(data: object, name: str) -> PoseData:
    """Check and convert pose JSON, in the order of its indices.

    Raises:
        InputError: names the pose and the key, and what was expected.
    """
    if not isinstance(data, Mapping) or not data:
        raise InputError(f"{name} must be a non-empty JSON object {FORMAT}.")
    poses = [_pose(data, key, name) for key in _in_order(data, name)]
    labels = [pose["label"] for pose in poses if "label" in pose]
    if labels and len(labels) != len(poses):
        raise InputError(
            f'{name} has a "label" at {len(labels)} of its {len(poses)} poses: give one to every pose or to none.'
        )
    return PoseData(
        np.stack([_extrinsic(pose["extrinsic"], f"{name}, pose {i}:") for i, pose in enumerate(poses)]),
        np.stack([_intrinsics(pose["K"], f"{name}, pose {i}:") for i, pose in enumerate(poses)]),
        np.array([_label(value, f"{name}, pose {i}:") for i, value in enumerate(labels)], np.int64) if labels else None,
    )


def poses_to_json(
    c2w: NDArray[np.float64], intrinsics: NDArray[np.float64], labels: Sequence[int] | None
) -> dict[str, dict[str, object]]:
    """The inverse of `poses_from_json`; the pixels are those of a 1920×1080 picture."""
    cx, cy = PICTURE_CENTRE
    result: dict[str, dict[str, object]] = {}
    for i, (pose, K) in enumerate(zip(c2w, intrinsics, strict=True)):
        pixels = [[K[0, 0] * 2 * cx, 0.0, cx], [0.0, K[1, 1] * 2 * cy, cy], [0.0, 0.0, 1.0]]
        result[str(i)] = {"extrinsic": pose.tolist(), "K": [[float(v) for v in row] for row in pixels]}
        if labels is not None:
            result[str(i)]["label"] = int(labels[i])
    return result


def _in_order(data: Mapping[object, object], name: str) -> list[object]:
    """The keys "0", "1", … sorted as numbers."""
    for key in data:
        if not str(key).isdecimal():
            raise InputError(f'{name} has the key "{key}" where the index of a pose was expected; expected {FORMAT}.')
    keys = sorted(data, key=lambda key: int(str(key)))
    for i, key in enumerate(keys):
        if int(str(key)) != i:
            raise InputError(
                f'{name} must number its poses from 0 without gaps: "{key}" stands where "{i}" was expected.'
            )
    return keys


def _pose(data: Mapping[object, object], key: object, name: str) -> Mapping[str, object]:
    pose = data[key]
    for needed, what in (("extrinsic", "a 4×4 camera-to-world matrix"), ("K", "a 3×3 matrix in pixels")):
        if not isinstance(pose, Mapping) or needed not in pose:
            raise InputError(f'{name}, pose {key}: the key "{needed}" is missing; add {what}.')
    return pose


def _matrix(value: object, size: int, where: str) -> NDArray[np.float64]:
    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where} must be a {size}×{size} matrix of numbers.") from None
    if matrix.shape != (size, size):
        raise InputError(f"{where} must be a {size}×{size} matrix, got the shape {list(matrix.shape)}.")
    if not np.isfinite(matrix).all():
        raise InputError(f"{where} must hold finite numbers, got NaN or infinity.")
    return matrix


def _extrinsic(value: object, where: str) -> NDArray[np.float64]:
    where = f"{where} extrinsic"
    pose = _matrix(value, 4, where)
    if np.abs(pose[3] - (0, 0, 0, 1)).max() > RIGID_TOLERANCE:
        raise InputError(
            f"{where} must be camera-to-world with the last row 0 0 0 1 and the position in the last column, "
            f"got the last row {' '.join(f'{v:g}' for v in pose[3])}."
        )
    R = pose[:3, :3]
    skew = np.abs(R.T @ R - np.eye(3)).max()
    if skew > RIGID_TOLERANCE:
        raise InputError(
            f"{where} must be rigid: its 3×3 rotation is not orthonormal (off by {skew:.3g}); remove scale and shear."
        )
    if np.linalg.det(R) < 0:
        raise InputError(f"{where} must be a rotation, but it mirrors (determinant −1); flip one axis back.")
    return pose


def _intrinsics(value: object, where: str) -> NDArray[np.float64]:
    where = f"{where} K"
    K = _matrix(value, 3, where)
    for name, number in (("fx", K[0, 0]), ("fy", K[1, 1]), ("cx", K[0, 2]), ("cy", K[1, 2])):
        if number <= 0:
            raise InputError(f"{where} must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with {name} > 0, got {number:g}.")
    return normalised(K[0, 0], K[1, 1], K[0, 2], K[1, 2])


def normalised(fx: float, fy: float, cx: float, cy: float) -> NDArray[np.float64]:
    """Intrinsics in units of the picture's size, `[3, 3]`: the principal point is its centre."""
    return np.array([[fx / (cx * 2), 0.0, 0.5], [0.0, fy / (cy * 2), 0.5], [0.0, 0.0, 1.0]])


def _label(value: object, where: str) -> int:
    if not isinstance(value, int) or not 0 <= value < NUM_LABELS:
        raise InputError(f"{where} label must be a whole number from 0 to {NUM_LABELS - 1}, got {value!r}.")
    return value
