"""nerfstudio's `transforms.json` (also instant-ngp's and NeRF's): OpenGL cameras, z up.

https://docs.nerf.studio/quickstart/data_conventions.html
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..pose_json import LARGEST, RIGID_TOLERANCE, PoseData, extrinsic, matrix
from ..resample import LATENTS_PER_SECOND
from .common import (
    OPENGL,
    TO_Z_UP,
    centre_note,
    distortion_note,
    frames_of,
    from_opengl,
    in_order,
    lens,
    number,
    picture_names,
    to_opengl,
)

PERSPECTIVE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "RADIAL", "SIMPLE_RADIAL")

DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")


def read(data: Mapping[object, object], name: str) -> PoseData:
    """Poses in the order of their file names, in the world before `applied_transform` if the file has one.

    Raises `InputError` that begins with `name`.
    """
    frames = frames_of(data, name)
    if all(isinstance(frame.get("file_path"), str) for frame in frames):
        frames = sorted(frames, key=lambda frame: in_order(str(frame["file_path"])))
    c2w, intrinsics, off_centre, distorted = [], [], 0.0, False
    for i, frame in enumerate(frames):
        path = frame.get("file_path")
        where = f"{name}, frame {i}" + (f" ({path!s:.60})" if path is not None else "")
        if "transform_matrix" not in frame:
            raise InputError(f'{where}: the key "transform_matrix" is missing; add a 4×4 camera-to-world matrix.')
        c2w.append(extrinsic(frame["transform_matrix"], f"{where}: transform_matrix"))
        # A key of the frame wins over the same key of the whole file.
        camera = {**data, **frame}
        K, off = _intrinsics(camera, where)
        intrinsics.append(K)
        off_centre = max(off_centre, off)
        distorted = distorted or any(camera.get(key) for key in DISTORTION)
    poses = np.stack(c2w)
    poses = from_opengl(poses) if data.get("applied_transform") is None else _original(data, poses, name)
    seconds, note = _seconds(frames, name)
    notes = (*note, *centre_note(name, off_centre), *((distortion_note(name),) if distorted else ()))
    return PoseData(poses, np.stack(intrinsics), seconds=seconds, notes=notes)


def write(poses: PoseData, height: int, width: int) -> dict[str, object]:
    """A `transforms.json` for frames of this size, named frames/frame_00001.png, …

    Its `applied_transform` leads back to our world; timestamps are seconds.
    """
    size = np.array([width, height])
    focal = poses.intrinsics[:, [0, 1], [0, 1]] * size
    same = (focal == focal[0]).all()
    seconds = np.arange(len(poses.c2w)) / LATENTS_PER_SECOND if poses.seconds is None else poses.seconds
    frames: list[dict[str, object]] = []
    for pose, (fx, fy), time, picture in zip(to_opengl(poses.c2w), focal, seconds, picture_names(poses), strict=True):
        frame = {"file_path": f"frames/{picture}", "transform_matrix": pose.tolist(), "timestamp": float(time)}
        frames.append(frame if same else {**frame, "fl_x": float(fx), "fl_y": float(fy)})
    shared = {"fl_x": float(focal[0, 0]), "fl_y": float(focal[0, 1])} if same else {}
    return {
        "camera_model": "OPENCV",
        "w": width,
        "h": height,
        **shared,
        "cx": width / 2,
        "cy": height / 2,
        "applied_transform": TO_Z_UP[:3].tolist(),
        "frames": frames,
    }


def _intrinsics(camera: Mapping[object, object], where: str) -> tuple[NDArray[np.float64], float]:
    """Normalised intrinsics, and how far the principal point is off the centre, in parts of the size."""
    model = camera.get("camera_model", "OPENCV")
    if model not in PERSPECTIVE:
        raise InputError(
            f"{where} has the camera model {model!s:.40}; give perspective cameras ({', '.join(PERSPECTIVE)}), for "
            f"example after undistorting the pictures."
        )
    fx, width = _along(camera, "x", "w", where)
    fy, height = _along(camera, "y", "h", where)
    if fx is None:
        raise InputError(f'{where} has no focal length; add "fl_x" in pixels or "camera_angle_x" in radians.')
    if width is None or height is None:
        # NeRF's synthetic scenes, which tell a field of view only, are square.
        width = width or height or 1.0
        height = height or width
    fx, fy = fx * width, fx * width if fy is None else fy * height
    off = max(
        abs(number(camera, key, where) / size - 0.5) if camera.get(key) is not None else 0.0
        for key, size in (("cx", width), ("cy", height))
    )
    return lens(fx, fy, width, height, where), off


def _along(camera: Mapping[object, object], axis: str, side: str, where: str) -> tuple[float | None, float | None]:
    """Focal length in parts of the picture's side, and the side in pixels, where the file gives them."""
    size = None
    if camera.get(side) is not None:
        size = number(camera, side, where)
    elif camera.get(f"c{axis}") is not None:
        size = 2 * number(camera, f"c{axis}", where)
    if size is not None and size <= 0:
        raise InputError(f'{where} must have a picture larger than 0 pixels ("w", "h" or "cx", "cy"), got {size:g}.')
    in_pixels = camera.get(f"fl_{axis}") is not None
    if in_pixels and size is not None:
        return number(camera, f"fl_{axis}", where) / size, size
    if camera.get(f"camera_angle_{axis}") is not None:
        angle = number(camera, f"camera_angle_{axis}", where)
        if not 0 < angle < math.pi:
            raise InputError(f'{where}: "camera_angle_{axis}" must be an angle of 0 to π (radians), got {angle:g}.')
        return 0.5 / math.tan(angle / 2), size
    if in_pixels:
        raise InputError(f'{where} has "fl_{axis}" in pixels but not the size of the picture; add "{side}".')
    return None, size


def _original(data: Mapping[object, object], poses: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """Poses before `applied_transform` (3×4) and `applied_scale`, as nerfstudio takes them back."""
    value = data["applied_transform"]
    rows = [*value, [0, 0, 0, 1]] if isinstance(value, list) and len(value) == 3 else value
    applied = matrix(rows, 4, f"{name}: applied_transform")
    R = applied[:3, :3]
    if np.abs(R.T @ R - np.eye(3)).max() > RIGID_TOLERANCE or np.linalg.det(R) < 0:
        raise InputError(f"{name}: applied_transform must be a rotation and a translation, without scale or mirroring.")
    scale = 1.0 if data.get("applied_scale") is None else number(data, "applied_scale", name)
    poses = poses.copy()
    if scale > 0:
        poses[:, :3, 3] /= scale
    if not (scale > 0 and np.abs(poses).max() <= LARGEST):
        raise InputError(f"{name}: applied_scale must be above 0 and leave numbers up to {LARGEST:g}, got {scale:g}.")
    return np.asarray(np.linalg.inv(applied) @ poses @ OPENGL, np.float64)


def _seconds(frames: list[Mapping[object, object]], name: str) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    """Times of the frames in seconds if all have one, and a note where they are no seconds."""
    for key in ("timestamp", "time"):
        given = [frame for frame in frames if frame.get(key) is not None]
        if not given:
            continue
        if len(given) < len(frames):
            raise InputError(
                f'{name} has a "{key}" at {len(given)} of its {len(frames)} frames: give one to every frame or to none.'
            )
        seconds = np.array([number(frame, key, name) for frame in frames])
        if key == "time" and len(seconds) > 1 and seconds.min() >= 0 and seconds.max() <= 1:
            return None, (
                f'The "time" of {name[0].lower() + name[1:]} runs from 0 to 1, which is a part of the whole and not '
                f"seconds: each pose is one latent of 0.25 s unless fps is given.",
            )
        return seconds, ()
    return None, ()
