"""The memory rule as plain loops over pairs of cameras: what `selection.py` must agree with.

Slow (a second for a long path) and meant to be read. One function per sentence of the rule.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..config import CHUNK_LATENTS, MemoryConfig


def select_memory_frames_reference(
    viewmats: Tensor, current: int, points: Tensor, config: MemoryConfig
) -> tuple[int, ...]:
    """The same as `select_memory_frames`, for float32 CPU tensors."""
    if current < config.frames:
        return tuple(range(current))
    first_recent = current - config.recent
    chunk = range(current, current + CHUNK_LATENTS)
    nearest, nearest_start = math.inf, 0
    for start in range(0, first_recent, CHUNK_LATENTS):
        total = 0.0
        for query in chunk:
            first = 1.0 - overlap(viewmats[query], viewmats[start], points, config)
            third = 1.0 - overlap(viewmats[query], viewmats[start + 2], points, config)
            total += (first + third) / 2.0
        distance = total / CHUNK_LATENTS
        if distance < nearest:  # strictly: the earlier of equals stays
            nearest, nearest_start = distance, start
    older_clip = range(nearest_start, nearest_start + CHUNK_LATENTS)
    return (*older_clip, *range(first_recent, current))


def overlap(query: Tensor, old: Tensor, points: Tensor, config: MemoryConfig) -> float:
    """Share of the points in the query's view that the old camera sees too, for two `[4, 4]` world-to-camera."""
    query_in_query = torch.linalg.inv(query @ torch.linalg.inv(query))
    old_in_query = torch.linalg.inv(query @ torch.linalg.inv(old))
    cloud = points + centre(query_in_query)
    wanted = in_field_of_view(cloud, query_in_query, config)
    near = torch.norm(cloud - centre(old_in_query), dim=1) < config.radius
    shared = wanted & in_field_of_view(cloud, old_in_query, config) & near
    if not wanted.any():
        return 0.0
    return (shared.sum().float() / wanted.sum().float()).item()


def centre(viewmat: Tensor) -> Tensor:
    """Where a world-to-camera `[4, 4]` has its camera, `[3]`."""
    return -viewmat[:3, :3].T @ viewmat[:3, 3]


def in_field_of_view(points: Tensor, viewmat: Tensor, config: MemoryConfig) -> Tensor:
    """Which of `points` `[M, 3]` are within half the field of view of the camera's axis, both ways: bool `[M]`."""
    azimuth, elevation = azimuth_elevation(points - centre(viewmat))
    yaw, pitch = azimuth_elevation(viewmat[2, :3])
    beside = wrapped(azimuth - yaw).abs()
    above = wrapped(elevation - pitch).abs()
    return (beside < config.fov_horizontal_deg / 2) & (above < config.fov_vertical_deg / 2)


def azimuth_elevation(vector: Tensor) -> tuple[Tensor, Tensor]:
    """Angles in degrees of vectors `[..., 3]`: from +z towards +x, and from there towards +y."""
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    degrees = 180.0 / math.pi
    return torch.atan2(x, z) * degrees, torch.atan2(y, torch.sqrt(x**2 + z**2)) * degrees


def wrapped(degrees: Tensor) -> Tensor:
    """The same angle in [-180, 180)."""
    return torch.remainder(degrees + 180, 360) - 180
