"""The path field of Camera Trajectory: tokens, pose JSON, or the name of a file of pose JSON."""

from __future__ import annotations

import hashlib

from ..hyworld.camera import Speeds, Trajectory
from ..hyworld.camera.pose_json import PoseError, file_name
from ..hyworld.errors import InputError
from .host.files import called, read_pose_file


def read_path(text: str, move_speed: float, turn_speed: float, third_person: bool) -> Trajectory:
    """The path of the text field; raises `InputError`, which tells nothing that a file holds."""
    file = file_name(text)
    if file is None:
        return Trajectory.from_text(text, Speeds(move=move_speed, turn_deg=turn_speed), third_person or None)
    try:
        return Trajectory.from_json_text(read_pose_file(file), called(file), third_person)
    except PoseError as error:
        raise InputError(error.without_values) from None


def fingerprint(text: object) -> str:
    """Hash of the file that the text names, so that an edited file is read again; never raises."""
    file = file_name(text) if isinstance(text, str) else None
    if file is None:
        return ""
    try:
        return hashlib.sha256(read_pose_file(file).encode()).hexdigest()
    except InputError:
        return ""


def is_json(text: str) -> bool:
    """Whether a path is pose JSON or a file of it, which the node's editor cannot draw."""
    return file_name(text) is not None or text.strip().startswith(("{", "["))
