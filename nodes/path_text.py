"""The path field of Camera Trajectory: tokens, pose JSON, or the name of a file of pose JSON."""

from __future__ import annotations

import hashlib

from ..hyworld.camera import Speeds, Trajectory
from ..hyworld.camera.pose_json import PoseError
from ..hyworld.errors import InputError
from .host.files import UnreadableError, called, pose_file, read_pose_file


def read_path(text: str, move_speed: float, turn_speed: float, third_person: bool) -> Trajectory:
    """The path of the text field; raises `InputError`, which tells nothing that a file holds."""
    file = file_name(text)
    if file is None:
        return Trajectory.from_text(text, Speeds(move=move_speed, turn_deg=turn_speed), third_person or None)
    try:
        if file.lower().endswith(".npz"):
            return Trajectory.load(str(pose_file(file)), third_person=third_person)
        return Trajectory.from_json_text(read_pose_file(file), called(file), third_person)
    except UnreadableError:
        raise
    except PoseError as error:
        raise InputError(error.without_values) from None
    except InputError:
        raise InputError(
            f"{called(file)} holds no camera path that can be read: `hyworld trajectory` says more about it."
        ) from None


def fingerprint(text: object) -> str:
    """Hash of the file that the text names, so that an edited file is read again; never raises."""
    file = file_name(text) if isinstance(text, str) else None
    if file is None:
        return ""
    try:
        return hashlib.sha256(pose_file(file).read_bytes()).hexdigest()
    except (InputError, OSError):
        return ""


def file_name(text: str) -> str | None:
    """The name of a camera file, if the text is one."""
    name = text.strip()
    return name if name.lower().endswith((".json", ".npz")) and not name.startswith(("{", "[")) else None


def is_json(text: str) -> bool:
    """Whether a path is pose JSON or a file of it, which the node's editor cannot draw."""
    return file_name(text) is not None or text.strip().startswith(("{", "["))
