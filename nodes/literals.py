"""Checks of a walk before it runs, from the literal values in the prompt."""

from __future__ import annotations

from typing import Any

from ..hyworld.camera import Speeds
from ..hyworld.camera import Trajectory as Path3D
from ..hyworld.camera.keys import parse_keys, trajectory_from_keys
from ..hyworld.config import PIXEL_MULTIPLE, check_size
from ..hyworld.errors import InputError
from .host.prompt import inputs_of
from .path_text import read_path


def check_walk(sampler_id: str | None, chunks: int) -> bool | str:
    """Check a Streaming Sampler's size and the length of its path; True if right or not known yet, else the error."""
    sampler = inputs_of(sampler_id)
    if _is_link(sampler.get("world")):
        return True
    try:
        if not _is_link(sampler.get("first_frame")):
            check_size(_written(sampler, "height"), _written(sampler, "width"))
        if _is_link(sampler.get("trajectory")):
            path = _path_of(inputs_of(sampler["trajectory"][0]))
            if path is not None:
                path.require_chunks(chunks)
    except InputError as error:
        return str(error)
    return True


def _path_of(source: dict[str, Any]) -> Path3D | None:
    """The path a node will give; None if not known, or if the node itself reports the error."""
    kind, path, keys = source["class_type"], source.get("path"), source.get("keys")
    try:
        if kind == "HYWorldCameraTrajectory" and isinstance(path, str):
            speeds = Speeds()
            walk = read_path(path, speeds.move, speeds.turn_deg, False)
            return walk if walk.chunks else None
        if kind == "HYWorldActionSequence" and isinstance(keys, str) and not _is_link(source.get("trajectory")):
            return trajectory_from_keys(parse_keys(keys))
    except InputError:
        pass
    return None


def _written(inputs: dict[str, Any], side: str) -> int:
    value = inputs.get(side)
    return value if isinstance(value, int) and value else PIXEL_MULTIPLE


def _is_link(value: Any) -> bool:
    return isinstance(value, list)
