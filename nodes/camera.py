"""Camera Trajectory, Action Sequence and Join Trajectories."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..hyworld.camera import Speeds, draw_top_down
from ..hyworld.camera import Trajectory as Path3D
from ..hyworld.camera.keys import Keys, Presses, parse_keys, relabel, trajectory_from_keys
from ..hyworld.camera.load3d import pose_from_load3d
from ..hyworld.camera.tokens import PACES, paced
from ..hyworld.config import FRAMES_PER_SECOND, frames_in
from ..hyworld.errors import InputError
from .host.prompt import inputs_of
from .literals import pace_of
from .path_text import fingerprint, is_json, read_path
from .pixels import picture_to_image
from .schema import Actions, Trajectory, schema

DEFAULT_PATH = "w-7, right-8, w-8, left-8"
DEFAULT_KEYS = "W*7, W+→*8"

MOVE = {"default": Speeds().move, "min": 0.0, "max": 10.0, "step": 0.01, "round": 0.001}
TURN = {"default": Speeds().turn_deg, "min": 0.0, "max": 45.0, "step": 0.5, "round": 0.01}
_SPEED_INPUTS = (
    ("move_speed", MOVE, "Distance a move covers per latent (4 frames). 0.08 is what the model was trained at."),
    ("turn_speed", TURN, "Degrees a turn covers per latent. 3 is what the model was trained at."),
)
_THIRD_PERSON = "Label turns as in third-person view, where the camera circles the hero. Orbit tokens imply it."


PACE = next(iter(PACES))
"""The default choice: WorldPlay's."""
_PACE = (
    "The model that the path is for. Speeds are shares of its own: with DreamX-World 0.08 is its 0.3 units and 3 its 6 "
    "degrees per latent, moved picture by picture; its chunks have 3 latents."
)


def trained_at(pace: str) -> Speeds:
    """The speeds of a choice; raises `InputError` for another, which old hosts let pass."""
    if pace not in PACES:
        raise InputError(f"There is no pace {pace!r}: choose one of {', '.join(PACES)}.")
    return PACES[pace]


def speed_inputs() -> list[Any]:
    return [io.Float.Input(name, **span, optional=True, tooltip=tip) for name, span, tip in _SPEED_INPUTS]


def describe(path: Path3D) -> str:
    """Length of a path, and notes on it."""
    frames = frames_in(path.chunks * path.chunk_latents)
    left = len(path) % path.chunk_latents
    lines = [f"{len(path)} latents: {path.chunks} chunks, {frames} frames, {frames / FRAMES_PER_SECOND:.1f} s"]
    if left:
        lines.append(f"the last {left} latents do not fill a chunk and are left out")
    return "\n".join((*lines, *path.notes))


def drawn(
    path: Path3D, cls: Any, *outputs: Any, shown: bool = True, told: dict[str, Any] | None = None
) -> io.NodeOutput:
    """`outputs` and the map of the path.

    shown: also preview the map, for paths that the node's editor does not draw.
    told: for the editor, see `ran`.
    """
    picture = picture_to_image(draw_top_down(path))
    preview = ui.PreviewImage(picture, cls=cls).as_dict() if shown else {}
    return io.NodeOutput(*outputs, picture, ui={**preview, **(told or {})} or None)


def ran(text: str, move_speed: float, turn_speed: float) -> dict[str, Any]:
    """What ran, for the editor, which sees no values that come from links. Pose JSON is left out: it has a preview."""
    told: dict[str, Any] = {"hyworld_speeds": [move_speed, turn_speed]}
    return told if is_json(text) else {"hyworld_path": [text], **told}


class CameraTrajectory(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HYWorldCameraTrajectory",
            display_name="Camera Trajectory",
            description=(
                "The path the camera walks, from tokens such as 'w-8, right-6, w+d-4' or from pose JSON. "
                "One latent is 4 frames, one chunk is 4 latents (of DreamX-World: 3)."
            ),
            search_aliases=["hyworld", "camera path", "pose", "camera control", "walk"],
            inputs=[
                io.String.Input(
                    "path",
                    default=DEFAULT_PATH,
                    multiline=True,
                    tooltip="Tokens separated by commas: w s a d move, up down left right (or i k j l) turn, "
                    "orbit_left orbit_right circle; '+' combines keys, '-N' lasts N latents. Or pose JSON, or a file "
                    "of cameras (.json, .npz, COLMAP's images.txt) in the input folder.",
                ),
                *speed_inputs(),
                io.Boolean.Input("third_person", default=False, optional=True, tooltip=_THIRD_PERSON),
                io.Load3DCamera.Input(
                    "camera",
                    optional=True,
                    tooltip="A camera of ComfyUI's 3D nodes (Load 3D) for the first pose. The walk is the same; its "
                    "cameras, saved for another program, stand in that 3D scene.",
                ),
                io.Combo.Input("pace", options=list(PACES), default=PACE, optional=True, tooltip=_PACE),
            ],
            outputs=[
                Trajectory.Output(display_name="trajectory", tooltip="For the Streaming Sampler."),
                io.Int.Output(display_name="chunks", tooltip="Whole chunks the path is enough for."),
                io.Image.Output(display_name="map", tooltip="The path from above."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, path: str | None = None) -> bool | str:
        # Only the path: the host checks the rest, and repeats an error for every input named here.
        if path is None:
            return True
        try:
            trained = pace_of(inputs_of(cls.hidden.unique_id))
            read_path(path, Speeds().move, Speeds().turn_deg, False, trained).require_chunks()
        except InputError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, path: str | None = None, **_: Any) -> str:
        return fingerprint(path)

    @classmethod
    def execute(
        cls,
        path: str,
        move_speed: float = Speeds().move,
        turn_speed: float = Speeds().turn_deg,
        third_person: bool = False,
        camera: dict[str, Any] | None = None,
        pace: str = PACE,
    ) -> io.NodeOutput:
        walk = read_path(path, move_speed, turn_speed, third_person, trained_at(pace))
        if camera is not None:
            walk = walk.moved_to(pose_from_load3d(camera))
        told = ran(path, move_speed, turn_speed)
        return drawn(walk, cls, walk, walk.chunks, shown=is_json(path), told=told)


class ActionSequence(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HYWorldActionSequence",
            display_name="Action Sequence",
            description=(
                "Key presses per latent, such as 'W*8, W+→*4, idle*2'. With no trajectory wired in they walk a path "
                "of their own; with one, its poses stay and the keys replace what the network is told about them."
            ),
            search_aliases=["hyworld", "keys", "wasd", "actions", "controls"],
            inputs=[
                io.String.Input(
                    "keys",
                    default=DEFAULT_KEYS,
                    multiline=True,
                    tooltip="Entries with commas between: keys joined by '+' (W A S D, arrows, up down left right or "
                    "I K J L), or idle; '*N' lasts N latents.",
                ),
                Trajectory.Input(
                    "trajectory",
                    optional=True,
                    tooltip="A path whose labels these keys replace. It takes one entry less than it has latents.",
                ),
                *speed_inputs(),
                io.Combo.Input("pace", options=list(PACES), default=PACE, optional=True, tooltip=_PACE),
            ],
            outputs=[
                Trajectory.Output(display_name="trajectory", tooltip="The path with these keys as its labels."),
                Actions.Output(
                    display_name="actions", tooltip="The keys alone, for the actions input of the Streaming Sampler."
                ),
                io.String.Output(display_name="summary", tooltip="What the keys did: walked, or relabelled a path."),
                io.Image.Output(display_name="map", tooltip="The path from above."),
            ],
        )

    @classmethod
    def validate_inputs(cls, keys: str | None = None) -> bool | str:
        if keys is None:
            return True
        try:
            parse_keys(keys)
        except InputError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls,
        keys: str,
        trajectory: Path3D | None = None,
        move_speed: float = Speeds().move,
        turn_speed: float = Speeds().turn_deg,
        pace: str = PACE,
    ) -> io.NodeOutput:
        sequence: list[Keys] = parse_keys(keys)
        if trajectory is None:
            path = trajectory_from_keys(sequence, paced(trained_at(pace), move_speed, turn_speed))
            summary = f"The keys walk a path of their own.\n{describe(path)}"
        else:
            path = relabel(trajectory, sequence)
            summary = f"The keys replace the labels of the trajectory; its poses stay.\n{describe(path)}"
        told = ran(keys, move_speed, turn_speed)
        return drawn(path, cls, path, Presses(tuple(sequence)), summary, shown=trajectory is not None, told=told)


class JoinTrajectories(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HYWorldJoinTrajectories",
            display_name="Join Trajectories",
            description="Walks the second path from where the first one ends. The pose where they meet counts once.",
            search_aliases=["hyworld", "append path", "concatenate"],
            inputs=[
                Trajectory.Input("first", tooltip="The path that comes first."),
                Trajectory.Input("then", tooltip="The path that goes on from its end."),
            ],
            outputs=[
                Trajectory.Output(display_name="trajectory", tooltip="Both, one after the other."),
                io.Int.Output(display_name="chunks", tooltip="Whole chunks the path is enough for."),
                io.Image.Output(display_name="map", tooltip="The path from above."),
            ],
        )

    @classmethod
    def execute(cls, first: Path3D, then: Path3D) -> io.NodeOutput:
        walk = first.join(then)
        return drawn(walk, cls, walk, walk.chunks)
