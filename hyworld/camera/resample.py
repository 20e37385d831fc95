"""Poses at other times: positions and lenses linear, rotations at constant speed (slerp)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..config import FRAMES_PER_SECOND, VAE_TEMPORAL_STRIDE, frames_in
from ..errors import InputError
from .pose_json import PoseData
from .quaternions import from_rotations, powers, to_rotations
from .tokens import MAX_LATENTS

LATENTS_PER_SECOND = FRAMES_PER_SECOND / VAE_TEMPORAL_STRIDE


def to_latents(poses: PoseData, name: str, fps: float | None = None) -> PoseData:
    """One pose per latent, from the first pose's time on.

    fps: poses per second, instead of the file's own times. Without either the poses stay as they are.
    Raises `InputError` that begins with `name` if times do not grow or make more than `MAX_LATENTS` latents.
    """
    n = len(poses.c2w)
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise InputError(f"The frame rate (fps) must be a number above 0, got {fps:g}.")
    seconds = poses.seconds if fps is None else np.arange(n) / fps
    if seconds is None:
        return poses
    if not np.isfinite(seconds).all() or (np.diff(seconds) <= 0).any():
        raise InputError(f"{name} must have times that grow from pose to pose: correct them, or give fps instead.")
    lasts = seconds[-1] - seconds[0]
    # The tolerance takes in a last latent that rounding puts just behind the last pose.
    count = lasts * LATENTS_PER_SECOND + 1 + 1e-6
    if count > MAX_LATENTS:
        raise InputError(
            f"{name} lasts {lasts:g} s, which is more than {MAX_LATENTS} latents of {1 / LATENTS_PER_SECOND:g} s: "
            f"shorten it, or give the right frame rate (fps)."
        )
    times = np.arange(int(count)) / LATENTS_PER_SECOND
    if len(times) == n and np.allclose(times, seconds - seconds[0], rtol=0, atol=1e-6):
        return poses._replace(seconds=None)
    note = f"{name} has {n} poses in {lasts:.2f} s, read as {len(times)} latents of {1 / LATENTS_PER_SECOND:g} s."
    return _at(poses, seconds - seconds[0], times)._replace(notes=(*poses.notes, note))


def to_frames(poses: PoseData) -> PoseData:
    """One pose per video frame, from one per latent: latent i has the camera of frame 4i, those between are between."""
    n = len(poses.c2w)
    times = np.arange(frames_in(n)) / FRAMES_PER_SECOND
    return _at(poses, np.arange(n) / LATENTS_PER_SECOND, times)._replace(seconds=times)


def _at(poses: PoseData, seconds: NDArray[np.float64], times: NDArray[np.float64]) -> PoseData:
    """The poses at `times` within `seconds`; without labels, which belong to latents."""
    if len(seconds) == 1:
        return poses._replace(labels=None, seconds=None)
    before = np.clip(np.searchsorted(seconds, times, side="right") - 1, 0, len(seconds) - 2)
    share = ((times - seconds[before]) / (seconds[before + 1] - seconds[before])).clip(0.0, 1.0)
    first, second = poses.c2w[before], poses.c2w[before + 1]
    c2w = first + share[:, None, None] * (second - first)
    turn = from_rotations(first[:, :3, :3].transpose(0, 2, 1) @ second[:, :3, :3])
    c2w[:, :3, :3] = first[:, :3, :3] @ to_rotations(powers(turn, share))
    lens, next_lens = poses.intrinsics[before], poses.intrinsics[before + 1]
    intrinsics = lens + share[:, None, None] * (next_lens - lens)
    return poses._replace(c2w=c2w, intrinsics=intrinsics, labels=None, seconds=None, onwards=None)
