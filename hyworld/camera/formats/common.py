"""What the formats share: axes, lenses, names of pictures."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...config import VAE_TEMPORAL_STRIDE
from ...errors import InputError
from ..pose_json import FOCAL_RANGE, LARGEST, PoseData

OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
"""Axes of a camera, ours (x right, y down, z forward) ↔ OpenGL (x right, y up, z backward); its own inverse."""

TO_Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""Our world (y down, z forward) → one with z up and y forward, as in Blender and nerfstudio."""

OFF_CENTRE = 0.01
"""Part of the picture's size that a principal point may be off its centre without a note."""


def to_opengl(c2w: NDArray[np.float64]) -> NDArray[np.float64]:
    """Our poses `[N, 4, 4]` as OpenGL cameras in a world with z up."""
    return TO_Z_UP @ c2w @ OPENGL


def from_opengl(c2w: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of `to_opengl`."""
    return TO_Z_UP.T @ c2w @ OPENGL


def lens(fx: float, fy: float, width: float, height: float, where: str) -> NDArray[np.float64]:
    """Normalised intrinsics `[3, 3]` from pixels; raises `InputError` that begins with `where`."""
    for name, value in (("width", width), ("height", height), ("focal length", fx), ("focal length", fy)):
        if not 0 < value <= LARGEST:
            raise InputError(f"{where} must have a {name} above 0 and up to {LARGEST:g} pixels, got {value:g}.")
    low, high = FOCAL_RANGE
    for focal in (fx / width, fy / height):
        if not low <= focal <= high:
            raise InputError(
                f"{where} must have a focal length of {low:g} to {high:g} times the picture's size, got {focal:g}."
            )
    return np.array([[fx / width, 0.0, 0.5], [0.0, fy / height, 0.5], [0.0, 0.0, 1.0]])


def number(values: Mapping[object, object], key: str, where: str) -> float:
    """A finite number; raises `InputError` that begins with `where`."""
    value = values.get(key)
    if value is None:
        raise InputError(f'{where}: the key "{key}" is missing; add its number.')
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            result = float(value)
        except OverflowError:
            result = math.inf
        if math.isfinite(result):
            return result
    raise InputError(f'{where}: "{key}" must be a finite number, got {value!s:.40}.')


def frames_of(data: Mapping[object, object], name: str) -> list[Mapping[object, object]]:
    """The list "frames" of a JSON file; raises `InputError` that begins with `name`."""
    frames = data.get("frames")
    if not isinstance(frames, list) or not frames:
        raise InputError(f'{name} must have a list "frames" with at least one camera.')
    for i, frame in enumerate(frames):
        if not isinstance(frame, Mapping):
            raise InputError(f"{name}, frame {i} must be an object, got {frame!s:.40}.")
    return frames


def in_order(name: str) -> tuple[int | str, ...]:
    """Sorts file names with their numbers by value: frame_2 before frame_10."""
    return tuple(int(part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]{1,18})", name)))


def picture_names(poses: PoseData) -> list[str]:
    """Names of the video's frames that the poses belong to, as ffmpeg numbers them (from 1)."""
    step = VAE_TEMPORAL_STRIDE if poses.seconds is None else 1
    return [f"frame_{1 + step * i:05d}.png" for i in range(len(poses.c2w))]


def centre_note(name: str, off: float) -> tuple[str, ...]:
    """A note if a principal point is `off` the centre, in parts of the picture's size."""
    if off <= OFF_CENTRE:
        return ()
    return (
        f"{name} has a principal point {100 * off:.0f} % of the picture off its centre; it is taken to be the centre.",
    )


def distortion_note(name: str) -> str:
    return f"{name} has lens distortion, which is left out: the model draws pictures without."
