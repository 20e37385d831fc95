"""Memory frames by field-of-view overlap, all old clips against all query frames at once.

The rule is the original's (HY-World 1.5, `wan/models/utils.py::select_mem_frames_wan` and
`hyvideo/utils/retrieval_context.py`); `reference.py` states it as plain loops. A path that returns
to where it was makes near ties, which a last bit can decide, so the float32 arithmetic is the original's as well.

Shapes: N latents, M points of the cloud, H old cameras, Q query cameras (the chunk to come).
"""

from __future__ import annotations

import math
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from ..config import CHUNK_LATENTS, MemoryConfig

DEGREES = 180.0 / math.pi

DOUBT = 1e-3
"""Degrees (or units of length) within which a view's border is decided by the original's own arithmetic:
far above the rounding error of float32 angles, far below the spacing of the points."""

BLOCK = 1 << 15
"""Point-camera pairs tested at a time: their temporaries (128 kB) stay in the cache, and torch stays on one thread,
which is as fast here as many and does not wait for busy cores."""


def sample_points(n: int = 50_000, radius: float = 8.0, seed: int = 0) -> Tensor:
    """A cloud of points `[n, 3]` float32, uniform in a ball of `radius` around the origin.

    Drawn on the CPU from its own generator, so that the same seed chooses the same memory on every machine
    and nobody's random state is touched.
    """
    generator = torch.Generator().manual_seed(seed)
    distance, height, angle = torch.rand(3, n, generator=generator)
    # The cube root makes shells of equal volume equally likely; a uniform height does so for areas on the sphere.
    distance = radius * distance.pow(1 / 3)
    height = 2 * height - 1
    angle = 2 * math.pi * angle
    ring = (1 - height.square()).sqrt()
    return torch.stack((ring * angle.cos(), ring * angle.sin(), height), dim=1) * distance[:, None]


def select_memory_frames(viewmats: Tensor, current: int, points: Tensor, config: MemoryConfig) -> tuple[int, ...]:
    """Indices of the latents that the chunk starting at `current` remembers, ascending.

    All of the latents behind it while they are fewer than `config.frames`; from then on the last
    `config.recent` and the older clip with the smallest mean distance to the chunk, the earlier one on a tie.
    A clip starts at a multiple of 4 and ends before the recent latents; its distance is 1 − overlap, averaged over its
    latents 0 and 2 and over the chunk's latents. Overlap is the share of the points in the query's view that
    also lie in the old camera's view and within `config.radius` of it.

    viewmats: `[N, 4, 4]` world-to-camera, N ≥ current + 4 (latents after the chunk are ignored).
    points: `[M, 3]` float32, see `sample_points`.

    Computed in float32 on the CPU whatever the devices of the inputs, so that the choice does not depend on them.
    """
    if current % CHUNK_LATENTS or current + CHUNK_LATENTS > len(viewmats):
        raise ValueError(
            f"current must be the first latent of a chunk of {CHUNK_LATENTS} inside the path, got {current} of "
            f"{len(viewmats)} latents"
        )
    if current < config.frames:
        return tuple(range(current))
    viewmats = viewmats.detach().to("cpu", torch.float32)
    points = points.detach().to("cpu", torch.float32)

    first_recent = current - config.recent
    queries = viewmats[current : current + CHUNK_LATENTS]
    # Every second latent up to the recent ones: latents 0 and 2 of each clip, side by side.
    overlap = overlaps(queries, viewmats[0:first_recent:2], points, config).double()
    distance_per_query = ((1 - overlap[:, 0::2]) + (1 - overlap[:, 1::2])) / 2
    # Summed in the order of the queries, as the original does: other orders round near ties differently.
    distance = reduce(torch.add, distance_per_query) / CHUNK_LATENTS
    start = CHUNK_LATENTS * int(torch.argmin(distance))  # the first of equals
    return (*range(start, start + CHUNK_LATENTS), *range(first_recent, current))


def overlaps(queries: Tensor, cameras: Tensor, points: Tensor, config: MemoryConfig) -> Tensor:
    """Share of each query's view that each camera sees too, `[Q, H]` float32 in 0..1.

    queries `[Q, 4, 4]` and cameras `[H, 4, 4]` are world-to-camera; 0 where the query's view holds no point.
    """
    itself = views_from(queries, torch.linalg.inv(queries), config)
    others = views_from(queries[:, None], torch.linalg.inv(cameras), config)
    counts = torch.zeros(len(queries), len(cameras))
    wanted = torch.ones(len(queries), 1)
    for q in range(len(queries)):
        query = itself.at(slice(q, q + 1))
        # Only points in the query's view count, and they are few: drop the rest before H cameras look at them.
        clouds = (part + query.centre for part in points.split(BLOCK // 3))
        cloud = torch.cat([part[in_view(part, query, config, reach=math.inf)[0]] for part in clouds])
        wanted[q] = max(1, len(cloud))
        for part in cloud.split(max(1, BLOCK // len(cameras))):
            counts[q] += in_view(part, others.at(q), config, reach=config.radius).sum(dim=1)
    return counts / wanted


class Views(NamedTuple):
    """Where cameras stand and look, in the frame of a query camera; any leading dimensions."""

    centre: Tensor
    """`[..., 3]`"""
    pitch: Tensor
    """`[...]` degrees, towards +y."""
    yaw: Tensor
    """`[...]` degrees, from +z towards +x."""
    edges: Tensor
    """`[..., 6]` sine and cosine of the yaw, of the elevation of the upper edge, and of that of the lower."""

    def at(self, index: int | slice) -> Views:
        return Views(*(values[index] for values in self))


def views_from(query: Tensor, poses: Tensor, config: MemoryConfig) -> Views:
    """What cameras `poses` `[..., 4, 4]` (camera-to-world) look like from the world-to-camera `query` `[..., 4, 4]`."""
    relative = torch.linalg.inv(query @ poses)
    rotation, translation = relative[..., :3, :3], relative[..., :3, 3:]
    yaw, pitch = angles(*rotation[..., 2, :].unbind(dim=-1))
    half = config.fov_vertical_deg / 2
    edges = torch.stack((yaw, pitch - half, pitch + half), dim=-1).deg2rad()
    return Views(
        (-rotation.mT @ translation)[..., 0], pitch, yaw, torch.stack((edges.sin(), edges.cos()), dim=-1).flatten(-2)
    )


def angles(x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Azimuth and elevation of directions in degrees (x right, y down, z forward)."""
    return torch.atan2(x, z) * DEGREES, torch.atan2(y, torch.sqrt(x**2 + z**2)) * DEGREES


def in_view(points: Tensor, views: Views, config: MemoryConfig, *, reach: float) -> Tensor:
    """Whether each camera sees each point: bool `[H, M]`; `reach` is how far it sees.

    Angles are slow, so a point's distance to the border of the view decides; within `DOUBT` of the border the
    original's comparison of angles does, rounding included.
    """
    depth = depth_in_view(points, views, config, reach)
    seen = depth > 0
    h, m = torch.nonzero(depth.abs() < DOUBT, as_tuple=True)
    seen[h, m] = in_view_by_angles(points[m] - views.centre[h], views.pitch[h], views.yaw[h], config, reach)
    return seen


def depth_in_view(points: Tensor, views: Views, config: MemoryConfig, reach: float) -> Tensor:
    """How deep inside each view each point is, `[H, M]`: the distance to the nearest border, negative outside."""
    x, y, z = (ours - theirs[:, None] for ours, theirs in zip(points.T.contiguous(), views.centre.T, strict=True))
    sin_yaw, cos_yaw, sin_top, cos_top, sin_bottom, cos_bottom = views.edges.T[:, :, None]
    # Turned by the yaw alone: these views have level edges, however the camera tilts.
    across, ahead = cos_yaw * x - sin_yaw * z, sin_yaw * x + cos_yaw * z
    level = torch.hypot(x, z)
    half = math.radians(config.fov_horizontal_deg / 2)
    inside_sides = math.sin(half) * ahead - math.cos(half) * across.abs()
    below_top = cos_top * y - sin_top * level
    above_bottom = sin_bottom * level - cos_bottom * y
    within_reach = reach - torch.hypot(level, y)
    return torch.minimum(torch.minimum(inside_sides, within_reach), torch.minimum(below_top, above_bottom))


def in_view_by_angles(offset: Tensor, pitch: Tensor, yaw: Tensor, config: MemoryConfig, reach: float) -> Tensor:
    """The original's test, bool `[B]`, of points at `offset` `[B, 3]` from cameras that look along pitch and yaw `[B]`.

    Columns of a `[B, 3]` matter: over contiguous memory torch takes another atan2, which differs in the last bit.
    """
    azimuth, elevation = angles(*offset.unbind(dim=1))
    beside = (torch.remainder(azimuth - yaw + 180, 360) - 180).abs()
    above = (torch.remainder(elevation - pitch + 180, 360) - 180).abs()
    inside = (beside < config.fov_horizontal_deg / 2) & (above < config.fov_vertical_deg / 2)
    return inside & (torch.linalg.vector_norm(offset, dim=1) < reach)
