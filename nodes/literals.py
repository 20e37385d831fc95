"""Checks of a walk before it runs, from the literal values in the prompt."""

from __future__ import annotations

from typing import Any

from ..hyworld.camera import Speeds
from ..hyworld.camera import Trajectory as Path3D
from ..hyworld.camera.keys import parse_keys, trajectory_from_keys
from ..hyworld.camera.tokens import DEFAULT_SPEEDS, PACES
from ..hyworld.config import PIXEL_MULTIPLE, VAE_SPATIAL_STRIDE, check_size
from ..hyworld.errors import InputError
from ..hyworld.walk.recipes import SELF_FORCING
from .host.prompt import inputs_of
from .path_text import read_path

COUNTS_CHUNKS = ("HYWorldCameraTrajectory", "HYWorldJoinTrajectories")
"""Nodes whose output 1 is how many chunks their path is enough for."""

NO_LENGTH = (
    "It is not said how far to go: wire a path, such as that of Camera Trajectory, to trajectory, or set chunks, if "
    "the model follows no camera."
)


def check_sides(node_id: str | None, height: int, width: int) -> None:
    """Raise `InputError` unless both sides fit the VAE wired to a node, or some VAE if it is not known."""
    link = inputs_of(node_id).get("vae")
    source = inputs_of(link[0]) if _is_link(link) else {}
    named = str(source.get("vae_name", "")).lower().replace("_", ".")
    strides = [SELF_FORCING.spatial_stride, VAE_SPATIAL_STRIDE]
    if source.get("class_type") == "HYWorldTinyWorld" or "2.2" in named:
        strides = strides[1:]
    elif "2.1" in named:
        strides = strides[:1]
    refusals = []
    for stride in strides:
        try:
            check_size(height, width, stride)
        except InputError as error:
            refusals.append(error)
    if len(refusals) == len(strides):
        raise refusals[-1]


def check_walk(sampler_id: str | None, chunks: int | None) -> bool | str:
    """Check a Streaming Sampler's size and the length of its path; True if right or not known yet, else the error.

    chunks: None if it comes from a link.
    """
    sampler = inputs_of(sampler_id)
    goes_on = _is_link(sampler.get("world"))
    try:
        if not goes_on and not _is_link(sampler.get("first_frame")):
            check_sides(sampler_id, _written(sampler, "height"), _written(sampler, "width"))
        if chunks == 0 and not _is_link(sampler.get("trajectory")):
            raise InputError(NO_LENGTH)
        path = _path_behind(sampler.get("trajectory"))
        if path is not None:
            wanted = _chunks_behind(sampler.get("chunks")) if chunks is None else chunks
            (path[1:] if goes_on else path).require_chunks(wanted, onwards=goes_on)
    except InputError as error:
        return str(error)
    return True


def _path_behind(link: Any) -> Path3D | None:
    """The path that comes through a link; None if not known, or if the node there reports the error itself."""
    if not _is_link(link):
        return None
    source = inputs_of(link[0])
    kind, path, keys = source["class_type"], source.get("path"), source.get("keys")
    try:
        if kind == "HYWorldCameraTrajectory" and isinstance(path, str):
            speeds = Speeds()
            walk = read_path(path, speeds.move, speeds.turn_deg, False, pace_of(source))
            return walk if walk.chunks else None
        if kind == "HYWorldActionSequence" and _is_link(source.get("trajectory")):
            return _path_behind(source["trajectory"])
        if kind == "HYWorldActionSequence" and isinstance(keys, str):
            return trajectory_from_keys(parse_keys(keys), pace_of(source))
        if kind == "HYWorldJoinTrajectories":
            first, then = _path_behind(source.get("first")), _path_behind(source.get("then"))
            return None if first is None or then is None else first.join(then)
    except InputError:
        pass
    return None


def pace_of(source: dict[str, Any]) -> Speeds:
    """That of a node of a path, whose default is not told by old workflows; links are not looked behind."""
    pace = source.get("pace")
    return PACES[pace] if isinstance(pace, str) and pace in PACES else DEFAULT_SPEEDS


def _chunks_behind(link: Any) -> int:
    """The chunks that come through a link from a path's own count; 0 if not known."""
    path = None
    if _is_link(link) and inputs_of(link[0])["class_type"] in COUNTS_CHUNKS and link[1] == 1:
        path = _path_behind(link)
    return 0 if path is None else path.chunks


def _written(inputs: dict[str, Any], side: str) -> int:
    value = inputs.get(side)
    return value if isinstance(value, int) and value else PIXEL_MULTIPLE


def _is_link(value: Any) -> bool:
    return isinstance(value, list)
