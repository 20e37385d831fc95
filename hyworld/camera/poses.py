"""Rigid poses: motions → camera-to-world matrices (x right, y down, z forward)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
from numpy.typing import NDArray

from .tokens import Motion, Speeds


def integrate(motions: Sequence[Motion], orbit_radius: float = 1.0) -> NDArray[np.float64]:
    """Camera-to-world poses `[len(motions) + 1, 4, 4]`, starting at the identity.

    Order per latent, as in the original `generate_camera_trajectory_local`: yaw, pitch, move along the new axes, orbit
    about the point `orbit_radius` ahead.
    """
    poses = np.tile(np.eye(4), (len(motions) + 1, 1, 1))
    rotation, position = np.eye(3), np.zeros(3)
    pivot = np.array([0.0, 0.0, orbit_radius])
    for pose, motion in zip(poses[1:], motions, strict=True):
        rotation = rotation @ _about_y(motion.yaw) @ _about_x(motion.pitch)
        position = position + rotation @ np.array([motion.right, 0.0, motion.forward])
        if motion.orbit:
            turned = rotation @ _about_y(motion.orbit)
            position = position + (rotation - turned) @ pivot
            rotation = turned
        pose[:3, :3], pose[:3, 3] = rotation, position
    return poses


def poses_of(motions: Sequence[Motion], speeds: Speeds, *, onwards: bool = False) -> NDArray[np.float64]:
    """Poses `[len(motions) + 1, 4, 4]` of latents, from the identity on, each motion made in `speeds.steps`.

    onwards: the path goes on from latents there are, so that its first motion has all steps, too.
    """
    n = speeds.steps
    if n == 1:
        return integrate(motions, speeds.orbit_radius)
    first = n if onwards else 1
    parts = [Motion(*(value / n for value in astuple(motion))) for motion in motions]
    steps = [part for i, part in enumerate(parts) for _ in range(n if i else first)]
    seen = [0, *range(first, len(steps) + 1, n)]
    return integrate(steps, speeds.orbit_radius)[seen]


def _about_y(angle: float) -> NDArray[np.float64]:
    """Turns +z towards +x: a yaw to the right."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def _about_x(angle: float) -> NDArray[np.float64]:
    """Turns +z towards -y: a pitch up."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
