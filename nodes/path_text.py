"""The path field of Camera Trajectory: tokens, pose JSON, or the name of a file of cameras."""

from __future__ import annotations

import hashlib

from ..hyworld.camera import Speeds, Trajectory
from ..hyworld.camera.formats.colmap import CAMERAS, IMAGES
from ..hyworld.camera.pose_json import PoseError
from ..hyworld.camera.tokens import DEFAULT_SPEEDS, paced
from ..hyworld.errors import InputError
from .host.files import UnreadableError, called, pose_file, read_pose_file


def read_path(
    text: str, move_speed: float, turn_speed: float, third_person: bool, trained: Speeds = DEFAULT_SPEEDS
) -> Trajectory:
    """The path of the text field; raises `InputError`, which tells nothing that a file holds.

    move_speed, turn_speed, trained: see `paced`.
    """
    file = file_name(text)
    if file is not None:
        return _read_file(file, third_person, trained)
    return Trajectory.from_text(text, paced(trained, move_speed, turn_speed), third_person or None)


def _read_file(file: str, third_person: bool, trained: Speeds) -> Trajectory:
    try:
        if file.lower().endswith(".npz"):
            return Trajectory.load(str(pose_file(file)), trained, third_person)
        images_or_json, *cameras = map(read_pose_file, _parts(file))
        if cameras:
            return Trajectory.from_colmap_text(cameras[0], images_or_json, called(file), third_person, trained)
        return Trajectory.from_json_text(images_or_json, called(file), third_person, trained)
    except UnreadableError:
        raise
    except PoseError as error:
        raise InputError(error.without_values) from None
    except InputError:
        raise InputError(
            f"{called(file)} holds no camera path that can be read: `hyworld trajectory` says more about it."
        ) from None


def fingerprint(text: object) -> str:
    """Hash of the files that the text names, so that an edited file is read again; never raises."""
    file = file_name(text) if isinstance(text, str) else None
    if file is None:
        return ""
    try:
        content = b"".join(pose_file(part).read_bytes() for part in _parts(file))
        return hashlib.sha256(content).hexdigest()
    except (InputError, OSError):
        return ""


def file_name(text: str) -> str | None:
    """The name of a camera file, if the text is one."""
    name = text.strip()
    return name if name.lower().endswith((".json", ".npz", IMAGES)) and not name.startswith(("{", "[")) else None


def _parts(file: str) -> list[str]:
    """The files that belong to the one named: COLMAP's cameras lie beside its images."""
    return [file, file[: -len(IMAGES)] + CAMERAS] if file.lower().endswith(IMAGES) else [file]


def is_json(text: str) -> bool:
    """Whether a path is pose JSON or a file of it, which the node's editor cannot draw."""
    return file_name(text) is not None or text.strip().startswith(("{", "["))
