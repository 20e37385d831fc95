"""Checking a prompt before it runs: what can be told from the values written into it."""

from __future__ import annotations

from typing import Any

from ..hyworld.camera import Speeds
from ..hyworld.camera.keys import parse_keys, trajectory_from_keys
from ..hyworld.errors import InputError
from .camera import read_path


def chunks_of_literal_path(prompt: Any, node_id: str | None, chunks: int) -> bool | str:
    """Whether the trajectory wired into node `node_id` is long enough, where its text stands in the prompt.

    Returns True if it is or cannot be told yet, else the sentence for the user.
    """
    node = (prompt or {}).get(node_id, {})
    link = node.get("inputs", {}).get("trajectory")
    if not isinstance(link, list) or isinstance(node["inputs"].get("world"), list):
        return True
    source = prompt.get(link[0], {})
    inputs = source.get("inputs", {})
    try:
        if source.get("class_type") == "HYWorldCameraTrajectory" and isinstance(inputs.get("path"), str):
            speeds = Speeds()
            path = read_path(inputs["path"], speeds.move, speeds.turn_deg, False)
        elif (
            source.get("class_type") == "HYWorldActionSequence"
            and isinstance(inputs.get("keys"), str)
            and not isinstance(inputs.get("trajectory"), list)
        ):
            path = trajectory_from_keys(parse_keys(inputs["keys"]))
        else:
            return True
        path.require_chunks(chunks)
    except InputError as error:
        return str(error)
    return True
