"""The 81 action labels, 9 · move + turn, one per latent.

Rule: HY-WorldPlay `hyvideo/generate.py::pose_to_input`, on camera poses relative to the latent before.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .tokens import KEYS, check_keys

MOVES = (
    "none",
    "forward",
    "backward",
    "right",
    "left",
    "forward+right",
    "forward+left",
    "backward+right",
    "backward+left",
)
TURNS = ("none", "right", "left", "up", "down", "right+up", "right+down", "left+up", "left+down")
NUM_LABELS = len(MOVES) * len(TURNS)

COMBINED = np.array([[0, 3, 4], [1, 5, 6], [2, 7, 8]])
"""`[i, j]` → index into MOVES (i forward/backward, j right/left) or TURNS (i right/left, j up/down); 0 is none."""

LEAST_MOVE = 1e-4
"""Scene units per latent up to which the camera stands."""

AXIS_DEG = 60.0
"""A move counts along an axis if it is closer to it than this."""

LEAST_TURN_DEG = 0.05
"""Degrees per latent up to which a turn counts as none."""


def label(move: str, turn: str) -> int:
    """Label of a move and a turn by name; raises `InputError` if there is no such name."""
    for kind, name, known in (("move", move, MOVES), ("turn", turn, TURNS)):
        if name not in known:
            raise InputError(f'There is no {kind} "{name}": choose one of {", ".join(known)}.')
    return len(TURNS) * MOVES.index(move) + TURNS.index(turn)


def label_name(number: int) -> str:
    """A label in words: "forward+right, turn left", "turn up" or "idle"; raises `InputError` outside 0..80."""
    if not 0 <= number < NUM_LABELS:
        raise InputError(f"Action labels are 0 to {NUM_LABELS - 1}, got {number}.")
    move, turn = MOVES[number // len(TURNS)], TURNS[number % len(TURNS)]
    words = [move] if move != "none" else []
    words += [f"turn {turn}"] if turn != "none" else []
    return ", ".join(words) or "idle"


def label_from_keys(keys: Iterable[str]) -> int:
    """Label of keys held together (none: idle, an orbit: its turn); `InputError` if unknown, repeated or opposed."""
    held = [key.strip().lower() for key in keys]
    try:
        check_keys(held)
    except ValueError as problem:
        raise InputError(f'The action "{"+".join(held)}" {problem}: the keys are {", ".join(KEYS)}.') from None
    side = {axis: 1 if sign > 0 else 2 for axis, sign in (KEYS[key] for key in held)}
    move = COMBINED[side.get("forward", 0), side.get("right", 0)]
    turn = COMBINED[side.get("yaw", side.get("orbit", 0)), side.get("pitch", 0)]
    return len(TURNS) * int(move) + int(turn)


def labels(c2w: NDArray[np.float64], third_person: bool = False) -> NDArray[np.int64]:
    """Labels `[N]` of camera-to-world poses `[N, 4, 4]`; the first is 0.

    third_person: drop the move of a latent that also turns, because it comes from orbiting.
    """
    relative = np.linalg.inv(c2w[:-1]) @ c2w[1:]
    yaw, pitch = _yaw_pitch_deg(relative[:, :3, :3])
    step = relative[:, :3, 3]
    length = np.linalg.norm(step, axis=1)
    moving = length > LEAST_MOVE
    if third_person:
        moving &= (np.abs(yaw) < LEAST_TURN_DEG) & (np.abs(pitch) < LEAST_TURN_DEG)
    direction = step / np.where(length > LEAST_MOVE, length, 1.0)[:, None]
    from_axis = np.degrees(np.arccos(direction.clip(-1.0, 1.0)))
    side = np.select([from_axis < AXIS_DEG, from_axis > 180.0 - AXIS_DEG], [1, 2]) * moving[:, None]

    move = COMBINED[side[:, 2], side[:, 0]]
    turn = COMBINED[_turn_side(yaw), _turn_side(pitch)]
    return np.concatenate((np.zeros(1, np.int64), len(TURNS) * move + turn)).astype(np.int64)[: len(c2w)]


def _turn_side(angle: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.select([angle > LEAST_TURN_DEG, angle < -LEAST_TURN_DEG], [1, 2])


def _yaw_pitch_deg(R: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Angles about y and x of `[N, 3, 3]` rotations R = Rz · Ry · Rx (extrinsic xyz Euler angles)."""
    cos_yaw = np.hypot(R[:, 2, 1], R[:, 2, 2])
    yaw = np.arctan2(-R[:, 2, 0], cos_yaw)
    # Gimbal lock: x and z turn about the same axis; by convention all of it is x's.
    locked = cos_yaw < 1e-7
    pitch = np.where(locked, np.arctan2(-R[:, 1, 2], R[:, 1, 1]), np.arctan2(R[:, 2, 1], R[:, 2, 2]))
    return np.degrees(yaw), np.degrees(pitch)
