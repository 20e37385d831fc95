"""The path field of Camera Trajectory: tokens, pose JSON, or the name of a file of pose JSON."""

from __future__ import annotations

from ..hyworld.camera import Speeds, Trajectory
from .host.files import input_file


def read_path(text: str, move_speed: float, turn_speed: float, third_person: bool) -> Trajectory:
    """The path of the text field (files: absolute, or in ComfyUI's input folder); raises as `Trajectory.load`."""
    return Trajectory.load(path_source(text), Speeds(move=move_speed, turn_deg=turn_speed), third_person or None)


def path_source(text: str) -> str:
    """The text; the name of a JSON file becomes its full path."""
    source = text.strip()
    return input_file(source) if source.lower().endswith(".json") else source


def is_json(text: str) -> bool:
    """Whether a path is pose JSON or a file of it, which the node's editor cannot draw."""
    source = text.strip().lower()
    return source.startswith(("{", "[")) or source.endswith(".json")
