"""Memory frames by field-of-view overlap; `reference.py` has the rule as plain loops.

Rule: HY-World 1.5, `wan/models/utils.py::select_mem_frames_wan` and `hyvideo/utils/retrieval_context.py`. The original
compares float32 angles, which differ between CPUs in the last bits. Here float64 +, *, / and sqrt decide, one operation
at a time: IEEE 754 fixes their results, so machines agree. Shapes: M points, H old cameras, Q query cameras.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from ..config import MemoryConfig
from .reference import FORWARD, sine_cosine

DOUBT = 1e-3
"""Distance from a view's border within which float64 decides; above float32's error, below the points' spacing."""

BLOCK = (1 << 15) - 1
"""Point-camera pairs per block: 128 kB temporaries stay in the cache, and torch on one thread, as fast here as many."""


def sample_points(n: int = 50_000, radius: float = 8.0, seed: int = 0) -> Tensor:
    """Points `[n, 3]` float32, uniform in a ball of `radius` around the origin.

    Drawn on the CPU from their own generator: they depend on the seed only, and global random state is untouched.
    """
    generator = torch.Generator().manual_seed(seed)
    # In float64: rounded at the end, last bits of a machine's cosine are gone.
    distance, height, angle = torch.rand(3, n, generator=generator).double()
    # Cube root: uniform in volume. Uniform height: uniform on the sphere.
    distance = radius * distance.pow(1 / 3)
    height = 2 * height - 1
    angle = 2 * math.pi * angle
    ring = (1 - height.square()).sqrt()
    return (torch.stack((ring * angle.cos(), ring * angle.sin(), height), dim=1) * distance[:, None]).float()


def select_memory_frames(viewmats: Tensor, current: int, points: Tensor, config: MemoryConfig) -> tuple[int, ...]:
    """Ascending indices of the latents that the chunk starting at `current` remembers.

    All past latents while they are fewer than `config.frames`; then the last `config.recent` and the older clip with
    the smallest mean distance to the chunk, the earlier on a tie. Clips start at multiples of `config.clip` and end
    before the recent latents. Distance is 1 − overlap, averaged over the clip's first and middle latents and over the
    chunk's. Overlap is the share of the points in the query's view that are also in the old camera's view and within
    `config.radius` of it. Cameras are rounded to float32 first, because machines compute paths differently.

    current: first latent of a chunk; raises `ValueError` otherwise.
    viewmats: `[N, 4, 4]` world-to-camera; latents after the chunk are ignored.
    points: `[M, 3]` float32, see `sample_points`.
    """
    clip = config.clip
    if current % clip or current + clip > len(viewmats):
        raise ValueError(
            f"current must be the first latent of a chunk of {clip} inside the path, got {current} of "
            f"{len(viewmats)} latents"
        )
    if current < config.frames:
        return tuple(range(current))
    viewmats = viewmats.detach().to("cpu", torch.float32)
    points = points.detach().to("cpu", torch.float32)
    first_recent = current - config.recent
    queries = viewmats[current : current + clip]
    # Columns: first and middle latent of each clip before the recent latents.
    overlap = overlaps(queries, viewmats[0 : first_recent : clip // 2], points, config).double()
    distance_per_query = ((1 - overlap[:, 0::2]) + (1 - overlap[:, 1::2])) / 2
    # Summed in the order of the queries, as the original does: other orders round near ties differently.
    distance = reduce(torch.add, distance_per_query) / clip
    start = clip * int(torch.argmin(distance))  # the first of equals
    return (*range(start, start + clip), *range(first_recent, current))


def select_clip(
    viewmats: Tensor, current: int, latents: int, starts: Sequence[int], points: Tensor, config: MemoryConfig
) -> int:
    """Of the clips that begin at `starts`, the one seen most by the chunk at `current`, both of so many latents.

    By the mean overlap of all their views, as in `select_memory_frames`; the earlier on a tie.
    """
    viewmats = viewmats.detach().to("cpu", torch.float32)
    points = points.detach().to("cpu", torch.float32)
    cameras = torch.cat([viewmats[start : start + latents] for start in starts])
    overlap = overlaps(viewmats[current : current + latents], cameras, points, config).double()
    shared = reduce(torch.add, [*overlap.view(-1, len(starts), latents).permute(0, 2, 1).flatten(0, 1)])
    return starts[int(torch.argmax(shared))]


def overlaps(queries: Tensor, cameras: Tensor, points: Tensor, config: MemoryConfig) -> Tensor:
    """Share `[Q, H]` float32 of each query's view that each camera sees too; 0 if the view holds no point.

    queries `[Q, 4, 4]` and cameras `[H, 4, 4]` are float32 world-to-camera.
    """
    # In its own frame every query sees the same points: drop the others first.
    ahead = Views.of(torch.zeros(1, 3, dtype=torch.float64), FORWARD[None], config)
    cloud = torch.cat([part[in_view(part, ahead, config, reach=math.inf)[0]] for part in points.split(BLOCK)])
    counts = torch.zeros(len(queries), len(cameras))
    for q, query in enumerate(queries.double()):
        views = Views.of(*seen_from(query, cameras.double()), config)
        for part in cloud.split(max(1, BLOCK // len(cameras))):
            counts[q] += in_view(part, views, config, reach=config.radius).sum(dim=1)
    return counts / max(1, len(cloud))


def seen_from(query: Tensor, cameras: Tensor) -> tuple[Tensor, Tensor]:
    """Positions and directions `[H, 3]` of world-to-camera `cameras` `[H, 4, 4]` in the frame of `query` `[4, 4]`."""
    centre = -_sum3(cameras[:, i, :3] * cameras[:, i, 3:] for i in range(3))
    place = _sum3(query[:3, j] * centre[:, j, None] for j in range(3)) + query[:3, 3]
    return place, _sum3(query[:3, j] * cameras[:, 2, j, None] for j in range(3))


def _sum3(terms: Iterable[Tensor]) -> Tensor:
    """In order: a matrix product may fuse or reorder."""
    return reduce(torch.add, terms)


class Views(NamedTuple):
    """Views of H cameras in the frame of a query camera."""

    centre: Tensor
    """`[H, 3]`"""
    edges: Tensor
    """`[H, 6]` sine and cosine of the yaw, of the upper edge's elevation and of the lower edge's."""

    @classmethod
    def of(cls, centre: Tensor, forward: Tensor, config: MemoryConfig) -> Views:
        """Views from `centre` `[H, 3]` along `forward` `[H, 3]` (x right, y down, z forward)."""
        x, y, z = forward.unbind(dim=1)
        ahead = (x * x + z * z).sqrt()
        length = (ahead * ahead + y * y).sqrt()
        vertical = ahead == 0
        sin_yaw = torch.where(vertical, 0.0, x / ahead)
        cos_yaw = torch.where(vertical, 1.0, z / ahead)
        sin, cos = y / length, ahead / length
        sin_half, cos_half = sine_cosine(config.fov_vertical_deg / 2)
        top = (sin * cos_half - cos * sin_half, cos * cos_half + sin * sin_half)
        bottom = (sin * cos_half + cos * sin_half, cos * cos_half - sin * sin_half)
        return cls(centre, torch.stack((sin_yaw, cos_yaw, *top, *bottom), dim=1))

    def at(self, index: Tensor) -> Views:
        return Views(self.centre[index], self.edges[index])


def in_view(points: Tensor, views: Views, config: MemoryConfig, *, reach: float) -> Tensor:
    """Whether each camera sees each of `points` `[M, 3]` within `reach`: bool `[H, M]`.

    Float32 decides away from the borders of the view, float64 within `DOUBT` of them.
    """
    coarse = Views(views.centre.float()[:, None], views.edges.float()[:, None])
    margin = reduce(torch.minimum, margins(points, coarse, config, reach))
    seen = margin > 0
    h, m = torch.nonzero(margin.abs() < DOUBT, as_tuple=True)
    exact = margins(points[m].double(), views.at(h), config, reach)
    seen[h, m] = reduce(torch.logical_and, (border > 0 for border in exact))
    return seen


def margins(points: Tensor, views: Views, config: MemoryConfig, reach: float) -> tuple[Tensor, ...]:
    """Distance of points inside each border, negative outside: sides, top, bottom (in units of length) and reach.

    Angles are compared by the signs of sines: sin(a - b) = sin a cos b - cos a sin b.
    """
    axes = zip(points.unbind(dim=-1), views.centre.unbind(dim=-1), strict=True)
    x, y, z = (point - centre for point, centre in axes)
    sin_yaw, cos_yaw, sin_top, cos_top, sin_bottom, cos_bottom = views.edges.unbind(dim=-1)
    # Rotated by the yaw alone: the edges stay level however the camera tilts.
    beside, along = x * cos_yaw - z * sin_yaw, z * cos_yaw + x * sin_yaw
    squared = x * x + z * z
    level = squared.sqrt()
    sin_half, cos_half = sine_cosine(config.fov_horizontal_deg / 2)
    return (
        along * sin_half - beside.abs() * cos_half,
        y * cos_top - level * sin_top,
        level * sin_bottom - y * cos_bottom,
        reach * reach - (squared + y * y),
    )
