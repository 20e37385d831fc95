"""The path of a live walk: what a chunk's latents are given → its cameras."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..camera import Trajectory
from ..camera import labels as labels_of
from ..camera.poses import poses_of
from ..camera.tokens import Motion, Speeds
from ..camera.trajectory import default_intrinsics


def cameras_onwards(here: Trajectory | None, motions: Sequence[Motion], speeds: Speeds) -> Trajectory:
    """Poses and labels of the chunk after the one with the cameras `here`, in world coordinates.

    motions: of its latents; in a new world (None) of all but the first, which is where the world begins.
    """
    poses = poses_of(motions, speeds, onwards=here is not None)
    # A label is of its latent alone, as is `third_person`: nobody knows yet whether the walk will orbit.
    orbits = np.array([False, *(bool(motion.orbit) for motion in motions)])
    labels = np.where(orbits, labels_of(poses, third_person=True), labels_of(poses))
    if here is None:
        return Trajectory(poses, default_intrinsics(len(poses)), labels)
    intrinsics = np.repeat(here.intrinsics[-1:], len(motions), axis=0)
    return Trajectory(here.c2w[-1] @ poses[1:], intrinsics, labels[1:])


def path_of(trajectory: Trajectory) -> list[list[float]]:
    """Of each latent x, y and z in scene units, yaw to the right and pitch up in radians: what a map needs."""
    x, y, z = trajectory.c2w[:, :3, 2].T  # where the camera looks
    turned = np.stack((np.arctan2(x, z), np.arcsin(np.clip(-y, -1, 1))), axis=1)
    rows: list[list[float]] = np.concatenate((trajectory.c2w[:, :3, 3], turned), axis=1).round(5).tolist()
    return rows
