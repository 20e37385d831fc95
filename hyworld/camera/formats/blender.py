"""Cameras of Blender, as `blender_addon.py` writes and reads them: matrix_world, lens and sensor of each frame."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...config import FRAMES_PER_SECOND, VAE_TEMPORAL_STRIDE
from ...errors import InputError
from ..pose_json import PoseData, extrinsic, matrix
from .common import centre_note, frames_of, from_opengl, lens, number, to_opengl

SENSOR_MM = 36.0
"""Width of the sensor written; Blender's default."""

FITS = ("AUTO", "HORIZONTAL", "VERTICAL")


def read(data: Mapping[object, object], name: str) -> PoseData:
    """Poses in the order of their frame numbers; raises `InputError` that begins with `name`."""
    frames = frames_of(data, name)
    fps = number(data, "fps", name)
    if not fps > 0:
        raise InputError(f'{name}: "fps" must be above 0, got {fps:g}.')
    width, height = number(data, "width", name), number(data, "height", name)
    aspect_x, aspect_y = (number(data, key, name) for key in ("pixel_aspect_x", "pixel_aspect_y"))
    times = [number(frame, "frame", f"{name}, frame {i}") for i, frame in enumerate(frames)]
    order = np.argsort(times, kind="stable")
    c2w, intrinsics, off_centre = [], [], 0.0
    for i in order:
        where = f"{name}, frame {times[i]:g}"
        c2w.append(_pose(frames[i], where))
        fx, fy, off = _lens(frames[i], width * aspect_x, height * aspect_y, where)
        intrinsics.append(lens(fx, fy, width * aspect_x, height * aspect_y, where))
        off_centre = max(off_centre, off)
    return PoseData(
        from_opengl(np.stack(c2w)),
        np.stack(intrinsics),
        seconds=np.array(times)[order] / fps,
        notes=centre_note(name, off_centre),
    )


def write(poses: PoseData, height: int, width: int) -> dict[str, object]:
    """A camera whose frame k is frame k of the video (from 1), at 16 fps; one key for each pose.

    Raises `InputError` if the shape of a pixel changes along the path, which Blender cannot.
    """
    fx, fy = poses.intrinsics[:, 0, 0] * width, poses.intrinsics[:, 1, 1] * height
    shape = fx / fy
    if np.ptp(shape) > 1e-6 * shape[0]:
        raise InputError("The path's lens changes its ratio of width to height, which a camera of Blender cannot do.")
    step = VAE_TEMPORAL_STRIDE if poses.seconds is None else 1
    frames = [
        {
            "frame": 1 + step * i,
            "matrix_world": pose.tolist(),
            "type": "PERSP",
            "lens": float(K[0, 0]) * SENSOR_MM,
            "sensor_width": SENSOR_MM,
            "sensor_height": SENSOR_MM,
            "sensor_fit": "HORIZONTAL",
            "shift_x": 0.0,
            "shift_y": 0.0,
        }
        for i, (pose, K) in enumerate(zip(to_opengl(poses.c2w), poses.intrinsics, strict=True))
    ]
    return {
        "program": "hyworld",
        "fps": FRAMES_PER_SECOND,
        "width": width,
        "height": height,
        # At least 1 each, as Blender demands.
        "pixel_aspect_x": max(1.0, float(1 / shape[0])),
        "pixel_aspect_y": max(1.0, float(shape[0])),
        "frames": frames,
    }


def _pose(frame: Mapping[object, object], where: str) -> NDArray[np.float64]:
    if "matrix_world" not in frame:
        raise InputError(f'{where}: the key "matrix_world" is missing; add a 4×4 matrix.')
    pose = matrix(frame["matrix_world"], 4, f"{where}: matrix_world")
    # Blender renders with the camera's scale, often a parent's, taken out.
    lengths = np.linalg.norm(pose[:3, :3], axis=0)
    if not (lengths > 1e-9).all():
        raise InputError(f"{where}: matrix_world must not have a scale of 0.")
    pose[:3, :3] /= lengths
    return extrinsic(pose, f"{where}: matrix_world")


def _lens(frame: Mapping[object, object], width: float, height: float, where: str) -> tuple[float, float, float]:
    """Focal lengths and shift in the units of the picture's size, which counts square pixels."""
    if frame.get("type", "PERSP") != "PERSP":
        raise InputError(f"{where} has a camera of type {frame['type']!s:.40}; choose a perspective one in Blender.")
    fit = frame.get("sensor_fit", "AUTO")
    if fit not in FITS:
        raise InputError(f'{where}: "sensor_fit" must be one of {", ".join(FITS)}, got {fit!s:.40}.')
    vertical = fit == "VERTICAL" or (fit == "AUTO" and height > width)
    side = height if vertical else width
    # With AUTO, sensor_width is the longer side, whichever that is.
    sensor = number(frame, "sensor_height" if fit == "VERTICAL" else "sensor_width", where)
    if not sensor > 0:
        raise InputError(f"{where} must have a sensor wider than 0 mm, got {sensor:g}.")
    focal = number(frame, "lens", where) / sensor * side
    off = max(
        abs(number(frame, key, where)) * side / size if frame.get(key) is not None and size > 0 else 0.0
        for key, size in (("shift_x", width), ("shift_y", height))
    )
    return focal, focal, off
