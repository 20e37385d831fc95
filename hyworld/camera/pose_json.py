"""Pose JSON of HY-WorldPlay (`assets/pose/*.json`, see `FORMAT`), checked on reading.

The optional key "label" of a pose is ours: its action label, where labels do not follow from the poses.
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
"""Principal point in pixels written to files (a 1920×1080 picture)."""

RIGID_TOLERANCE = 1e-3

LARGEST = 1e6
"""Scene units or pixels; beyond any scene, within float32."""

FOCAL_RANGE = (0.01, 100.0)
"""Focal lengths in units of the picture's size."""

FORMAT = '{"0": {"extrinsic": 4×4 camera-to-world, "K": 3×3 pixels}, "1": …}'


class PoseError(InputError):
    """Poses that cannot be read. The message is `says`, `got` and `then`; `without_values` lacks the value it `got`."""

    def __init__(self, says: str, got: str = "", then: str = "") -> None:
        super().__init__(f"{says}{got}{then}.")
        self.without_values = f"{says}{then}."


class PoseData(NamedTuple):
    """What every format is read to and written from, with axes and units as in `Trajectory`.

    c2w `[N, 4, 4]`, normalised intrinsics `[N, 3, 3]`, labels `[N]` where the file gives them.
    seconds: `[N]`, when each pose is; None: one pose per latent.
    notes: for the user, on how the file was read.
    onwards: see `Trajectory`.
    """

    c2w: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    labels: NDArray[np.int64] | None = None
    seconds: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()
    onwards: NDArray[np.float64] | None = None


def file_name(source: str) -> str | None:
    """The file that a path names, without white space around it; None for tokens and JSON text."""
    source = source.strip()
    return source if source.lower().endswith(".json") and not source.startswith(("{", "[")) else None


def read_json_text(text: str, name: str) -> object:
    """Parse JSON text that errors call `name`; raises `PoseError`."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise PoseError(f"{name} is not valid JSON ({error}); expected {FORMAT}") from None
    except RecursionError:
        raise PoseError(f"{name} is nested too deeply; expected {FORMAT}") from None


def read_file(source: str, name: str) -> str:
    """Text of a file that errors call `name`; raises `InputError` if it is missing or not text."""
    try:
        return Path(source).expanduser().read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{name} does not exist: check the path, or give pose tokens such as w-15.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read as text ({error}): choose a pose JSON file.") from None


def poses_from_json(data: object, name: str) -> PoseData:
    """Poses in the order of their indices; raises `PoseError` naming the pose and the key at fault."""
    if not isinstance(data, Mapping) or not data:
        raise PoseError(f"{name} must be a non-empty JSON object {FORMAT}")
    poses = [_read_pose(pose, f"{name}, pose {i}") for i, pose in enumerate(_in_order(data, name))]
    c2w, intrinsics, labels = zip(*poses, strict=True)
    given = [label for label in labels if label is not None]
    if given and len(given) != len(poses):
        raise PoseError(
            f'{name} has a "label" at {len(given)} of its {len(poses)} poses: give one to every pose or to none'
        )
    return PoseData(np.stack(c2w), np.stack(intrinsics), np.array(given, np.int64) if given else None)


def poses_to_json(
    c2w: NDArray[np.float64], intrinsics: NDArray[np.float64], labels: Sequence[int] | None
) -> dict[str, dict[str, object]]:
    """Inverse of `poses_from_json`, in pixels of a 1920×1080 picture."""
    cx, cy = PICTURE_CENTRE
    result: dict[str, dict[str, object]] = {}
    for i, (pose, K) in enumerate(zip(c2w, intrinsics, strict=True)):
        pixels = [[K[0, 0] * 2 * cx, 0.0, cx], [0.0, K[1, 1] * 2 * cy, cy], [0.0, 0.0, 1.0]]
        result[str(i)] = {"extrinsic": pose.tolist(), "K": [[float(v) for v in row] for row in pixels]}
        if labels is not None:
            result[str(i)]["label"] = int(labels[i])
    return result


def _in_order(data: Mapping[object, object], name: str) -> list[object]:
    poses = {str(key): pose for key, pose in data.items()}
    wanted = [str(i) for i in range(len(data))]
    for i in wanted:
        if i not in poses:
            stray = next(key for key in map(str, data) if key not in wanted)
            raise PoseError(
                f'{name} must number its {len(data)} poses from "0" to "{wanted[-1]}": "{i}" is missing',
                got=f' and "{stray}" is not such a number',
            )
    return [poses[i] for i in wanted]


def _read_pose(pose: object, where: str) -> tuple[NDArray[np.float64], NDArray[np.float64], int | None]:
    """Camera-to-world, normalised intrinsics and label (if given) of one pose."""
    if not isinstance(pose, Mapping):
        raise PoseError(f'{where} must be an object with the keys "extrinsic" and "K"', got=f", got {pose!s:.40}")
    for key, what in (("extrinsic", "a 4×4 camera-to-world matrix"), ("K", "a 3×3 matrix in pixels")):
        if key not in pose:
            raise PoseError(f'{where}: the key "{key}" is missing; add {what}')
    label = _label(pose["label"], f"{where}: label") if "label" in pose else None
    return extrinsic(pose["extrinsic"], f"{where}: extrinsic"), pixel_intrinsics(pose["K"], f"{where}: K"), label


def matrix(value: object, size: int, where: str) -> NDArray[np.float64]:
    """Finite numbers `[size, size]`; raises `InputError` that begins with `where`."""
    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise PoseError(f"{where} must be a {size}×{size} matrix of numbers") from None
    if matrix.shape != (size, size):
        raise PoseError(f"{where} must be a {size}×{size} matrix, got the shape {list(matrix.shape)}")
    if not np.isfinite(matrix).all():
        raise PoseError(f"{where} must hold finite numbers, got NaN or infinity")
    if np.abs(matrix).max() > LARGEST:
        raise PoseError(
            f"{where} must hold numbers up to {LARGEST:g}",
            got=f", got {np.abs(matrix).max():g}",
            then="; scale it down",
        )
    return matrix


def extrinsic(value: object, where: str) -> NDArray[np.float64]:
    """A rigid camera-to-world matrix `[4, 4]`; raises `InputError` that begins with `where`."""
    pose = matrix(value, 4, where)
    if np.abs(pose[3] - (0, 0, 0, 1)).max() > RIGID_TOLERANCE:
        raise PoseError(
            f"{where} must be camera-to-world with the last row 0 0 0 1 and the position in the last column",
            got=f", got the last row {' '.join(f'{v:g}' for v in pose[3])}",
        )
    R = pose[:3, :3]
    skew = np.abs(R.T @ R - np.eye(3)).max()
    if skew > RIGID_TOLERANCE:
        raise PoseError(
            f"{where} must be rigid: its 3×3 rotation is not orthonormal",
            got=f" (off by {skew:.3g})",
            then="; remove scale and shear",
        )
    if np.linalg.det(R) < 0:
        raise PoseError(f"{where} must be a rotation, but it mirrors (determinant −1); flip one axis back")
    return pose


def pixel_intrinsics(value: object, where: str) -> NDArray[np.float64]:
    """Normalised intrinsics of K `[3, 3]` in pixels; raises `InputError` that begins with `where`."""
    K = matrix(value, 3, where)
    for name, number in (("fx", K[0, 0]), ("fy", K[1, 1]), ("cx", K[0, 2]), ("cy", K[1, 2])):
        if number <= 0:
            raise PoseError(
                f"{where} must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with {name} > 0", got=f", got {number:g}"
            )
    relative = normalised(K[0, 0], K[1, 1], K[0, 2], K[1, 2])
    low, high = FOCAL_RANGE
    for name, focal in (("fx / 2cx", relative[0, 0]), ("fy / 2cy", relative[1, 1])):
        if not low <= focal <= high:
            raise PoseError(
                f"{where} must have a focal length of {low:g} to {high:g} times the picture's size",
                got=f", got {name} = {focal:g}",
                then="; give fx, fy, cx and cy in the pixels of one picture",
            )
    return relative


DEFAULT_FOCAL = 969.6969696969696
"""Pixels, both ways, in a 1920×1080 picture: the training camera (89.4° × 58.2°)."""


def default_intrinsics(latents: int) -> NDArray[np.float64]:
    """Normalised intrinsics `[latents, 3, 3]` of the training camera."""
    return np.tile(normalised(DEFAULT_FOCAL, DEFAULT_FOCAL, 960.0, 540.0), (latents, 1, 1))


def normalised(fx: float, fy: float, cx: float, cy: float) -> NDArray[np.float64]:
    """Intrinsics `[3, 3]` in units of the picture's size; the principal point becomes its centre."""
    return np.array([[fx / (cx * 2), 0.0, 0.5], [0.0, fy / (cy * 2), 0.5], [0.0, 0.0, 1.0]])


def _label(value: object, where: str) -> int:
    if not isinstance(value, int) or not 0 <= value < NUM_LABELS:
        raise PoseError(f"{where} must be a whole number from 0 to {NUM_LABELS - 1}", got=f", got {value!r}")
    return value
