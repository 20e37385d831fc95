"""Rigid poses: motions → camera-to-world matrices (x right, y down, z forward)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .tokens import Motion


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


def _about_y(angle: float) -> NDArray[np.float64]:
    """Turns +z towards +x: a yaw to the right."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def _about_x(angle: float) -> NDArray[np.float64]:
    """Turns +z towards -y: a pitch up."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
