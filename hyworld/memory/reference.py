"""The memory rule as plain loops over pairs of cameras, slow but readable; `selection.py` must agree with it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..config import MemoryConfig

FORWARD = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


def select_memory_frames_reference(
    viewmats: Tensor, current: int, points: Tensor, config: MemoryConfig
) -> tuple[int, ...]:
    """See `select_memory_frames`."""
    if current < config.frames:
        return tuple(range(current))
    first_recent = current - config.recent
    clip = config.clip
    chunk = range(current, current + clip)
    nearest, nearest_start = math.inf, 0
    for start in range(0, first_recent, clip):
        total = 0.0
        for query in chunk:
            first = 1.0 - overlap(viewmats[query], viewmats[start], points, config)
            middle = 1.0 - overlap(viewmats[query], viewmats[start + clip // 2], points, config)
            total += (first + middle) / 2.0
        distance = total / clip
        if distance < nearest:  # strictly: the earlier of equals stays
            nearest, nearest_start = distance, start
    older_clip = range(nearest_start, nearest_start + clip)
    return (*older_clip, *range(first_recent, current))


def overlap(query: Tensor, old: Tensor, points: Tensor, config: MemoryConfig) -> float:
    """Share of `points` `[M, 3]` (query's frame) in the query's view that `old` sees too; `[4, 4]` world-to-camera."""
    cloud = points.double()
    wanted = in_field_of_view(cloud, FORWARD, config)
    if not wanted.any():
        return 0.0
    centre, forward = seen_from(query.float().double(), old.float().double())
    offset = cloud - centre
    x, y, z = offset.unbind(dim=1)
    near = config.radius**2 - (x * x + z * z + y * y) > 0
    shared = wanted & near & in_field_of_view(offset, forward, config)
    return (shared.sum().float() / wanted.sum().float()).item()


def seen_from(query: Tensor, old: Tensor) -> tuple[Tensor, Tensor]:
    """Position and direction `[3]` of the old camera in the query camera's frame."""
    place, direction = [], []
    for axis in query[:3]:
        world_centre = [-sum(old[i, j] * old[i, 3] for i in range(3)) for j in range(3)]
        place.append(sum(axis[j] * world_centre[j] for j in range(3)) + axis[3])
        direction.append(sum(axis[j] * old[2, j] for j in range(3)))
    return torch.stack(place), torch.stack(direction)


def in_field_of_view(offset: Tensor, forward: Tensor, config: MemoryConfig) -> Tensor:
    """Which points at `offset` `[M, 3]` from a camera are in its field of view, by azimuth and elevation.

    Azimuth goes from +z to +x, elevation from there to +y. Angles are compared by the signs of sines:
    sin(a - b) = sin a cos b - cos a sin b.
    """
    x, y, z = offset.unbind(dim=1)
    level = (x * x + z * z).sqrt()
    ahead = (forward[0] * forward[0] + forward[2] * forward[2]).sqrt()
    length = (ahead * ahead + forward[1] * forward[1]).sqrt()
    sin_yaw, cos_yaw = (forward[0] / ahead, forward[2] / ahead) if ahead > 0 else (0.0, 1.0)
    sin_pitch, cos_pitch = forward[1] / length, ahead / length

    sin_half, cos_half = sine_cosine(config.fov_horizontal_deg / 2)
    # Rotate by the yaw: the camera looks along +z.
    beside, along = x * cos_yaw - z * sin_yaw, z * cos_yaw + x * sin_yaw
    within_sides = along * sin_half - beside.abs() * cos_half > 0

    sin_half, cos_half = sine_cosine(config.fov_vertical_deg / 2)
    sin_top, cos_top = sin_pitch * cos_half - cos_pitch * sin_half, cos_pitch * cos_half + sin_pitch * sin_half
    sin_bottom, cos_bottom = sin_pitch * cos_half + cos_pitch * sin_half, cos_pitch * cos_half - sin_pitch * sin_half
    return within_sides & (y * cos_top - level * sin_top > 0) & (level * sin_bottom - y * cos_bottom > 0)


def sine_cosine(degrees: float) -> tuple[float, float]:
    """Sine and cosine, rounded to what every mathematics library agrees on."""
    return round(math.sin(math.radians(degrees)), 12), round(math.cos(math.radians(degrees)), 12)
