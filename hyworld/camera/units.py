"""Units of other programs' scenes: a path scaled to the speed the model was trained at."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .pose_json import LARGEST, PoseData
from .tokens import DEFAULT_SPEEDS, PACES, Speeds, trained_at

AUTO = "auto"

UNUSUAL = 4.0
"""A path this much faster or slower than in training is worth a note."""


def scaled(poses: PoseData, name: str, scale: float | str = 1.0, speeds: Speeds = DEFAULT_SPEEDS) -> PoseData:
    """The path with its positions times `scale`, with a note on its speed.

    scale: "auto" makes the median motion of the latents that move 0.08 units, as in training.
    speeds: of the model that the path is for, if not WorldPlay's.
    Raises `InputError` unless it is "auto" or a number above 0 that leaves positions within `LARGEST`.
    """
    scale = read_scale(scale)
    median, usual = median_move(poses.c2w), trained_at(speeds).move
    notes = poses.notes
    if scale == AUTO:
        if not median:
            return poses._replace(notes=(*notes, f"{name} does not move, so its scale stays 1."))
        factor = usual / median
        notes = (*notes, f"{name} moves {median:.3g} units per latent (median), scaled by {factor:.4g} to {usual:g}.")
    else:
        factor = float(scale)
        moves = median * factor
        if moves and not usual / UNUSUAL <= moves <= usual * UNUSUAL:
            notes = (
                *notes,
                f"{name} moves {moves:.3g} units per latent (median); the model was trained with about {usual:g}: "
                f"scale auto brings it there.",
            )
    c2w = _times(poses.c2w, factor)
    farthest = np.abs(c2w[:, :3, 3]).max()
    if not farthest <= LARGEST:
        raise InputError(f"{name} reaches {farthest:.3g} units when scaled by {factor:g}: choose a smaller scale.")
    onwards = None if poses.onwards is None else _times(poses.onwards, factor)
    return poses._replace(c2w=c2w, notes=notes, onwards=onwards)


def _times(c2w: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    c2w = c2w.copy()
    c2w[:, :3, 3] *= factor
    return c2w


def other_pace(c2w: NDArray[np.float64], speeds: Speeds) -> str | None:
    """A sentence for the user, if the path moves as another model was trained than the one with these speeds."""
    median = median_move(c2w)
    for name, other in PACES.items():
        if speeds.move != other.move and abs(median - other.move) < 0.01 * other.move:
            own = next((model for model, pace in PACES.items() if pace == speeds), "this model")
            return (
                f"The path moves {median:.3g} units per latent, as made for {name}, but {own} was trained with "
                f"{speeds.move:g}: make the path for {own} (the pace of Camera Trajectory, or of "
                f"`hyworld trajectory`), unless it is meant so."
            )
    return None


def median_move(c2w: NDArray[np.float64]) -> float:
    """Median distance from latent to latent of those that move; 0 if none does."""
    moves = np.linalg.norm(np.diff(c2w[:, :3, 3], axis=0), axis=1)
    # A latent that stands or turns on the spot says nothing about the speed; 1 % allows for tracking noise.
    moving = moves[moves > 0.01 * moves.max(initial=0.0)]
    return float(np.median(moving)) if len(moving) else 0.0


def read_scale(scale: float | str) -> float | str:
    """A factor above 0, or "auto"; raises `InputError` for anything else."""
    if scale == AUTO:
        return AUTO
    try:
        factor = float(scale)
    except ValueError:
        factor = math.nan
    if not (math.isfinite(factor) and factor > 0):
        raise InputError(f'The scale must be "auto" or a number above 0, got {scale!r:.40}.')
    return factor
