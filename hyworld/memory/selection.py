"""Memory frames by field-of-view overlap, all old clips against all query frames at once.

The rule is the original's (HY-World 1.5, `wan/models/utils.py::select_mem_frames_wan` and
`hyvideo/utils/retrieval_context.py`); `reference.py` states it as plain loops. The original compares float32 angles,
whose last bits differ from CPU to CPU. Here the same comparison is made by float64 sums, products, quotients and
square roots, one operation at a time: IEEE 754 fixes the result of each, so every machine remembers the same.

Shapes: M points of the cloud, H old cameras, Q query cameras (the chunk to come).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from ..config import MemoryConfig
from .reference import FORWARD, sine_cosine

DOUBT = 1e-3
"""Distance from a view's border within which float64 decides: far above the rounding error of float32, far below the
spacing of the points."""

BLOCK = (1 << 15) - 1
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

    Cameras are rounded to float32 first, which takes away what machines differ by in computing a path.
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
    # The first latent and the middle one of each clip up to the recent latents, side by side.
    overlap = overlaps(queries, viewmats[0 : first_recent : clip // 2], points, config).double()
    distance_per_query = ((1 - overlap[:, 0::2]) + (1 - overlap[:, 1::2])) / 2
    # Summed in the order of the queries, as the original does: other orders round near ties differently.
    distance = reduce(torch.add, distance_per_query) / clip
    start = clip * int(torch.argmin(distance))  # the first of equals
    return (*range(start, start + clip), *range(first_recent, current))


def overlaps(queries: Tensor, cameras: Tensor, points: Tensor, config: MemoryConfig) -> Tensor:
    """Share of each query's view that each camera sees too, `[Q, H]` float32 in 0..1.

    queries `[Q, 4, 4]` and cameras `[H, 4, 4]` are float32 world-to-camera; 0 where the query's view holds no point.
    """
    # In its own frame every query sees the same points, and they are few: drop the rest before H cameras look at them.
    ahead = Views.of(torch.zeros(1, 3, dtype=torch.float64), FORWARD[None], config)
    cloud = torch.cat([part[in_view(part, ahead, config, reach=math.inf)[0]] for part in points.split(BLOCK)])
    counts = torch.zeros(len(queries), len(cameras))
    for q, query in enumerate(queries.double()):
        views = Views.of(*seen_from(query, cameras.double()), config)
        for part in cloud.split(max(1, BLOCK // len(cameras))):
            counts[q] += in_view(part, views, config, reach=config.radius).sum(dim=1)
    return counts / max(1, len(cloud))


def seen_from(query: Tensor, cameras: Tensor) -> tuple[Tensor, Tensor]:
    """Where world-to-camera `cameras` `[H, 4, 4]` stand and look in the frame of `query` `[4, 4]`: `[H, 3]` each."""
    centre = -_sum3(cameras[:, i, :3] * cameras[:, i, 3:] for i in range(3))
    place = _sum3(query[:3, j] * centre[:, j, None] for j in range(3)) + query[:3, 3]
    return place, _sum3(query[:3, j] * cameras[:, 2, j, None] for j in range(3))


def _sum3(terms: Iterable[Tensor]) -> Tensor:
    """Added one after the other: a matrix product may fuse or reorder."""
    return reduce(torch.add, terms)


class Views(NamedTuple):
    """What H cameras see, in the frame of a query camera; float64."""

    centre: Tensor
    """`[H, 3]`"""
    edges: Tensor
    """`[H, 6]` sine and cosine of the yaw, of the elevation of the upper edge, and of that of the lower."""

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
        """The views of these cameras."""
        return Views(self.centre[index], self.edges[index])


def in_view(points: Tensor, views: Views, config: MemoryConfig, *, reach: float) -> Tensor:
    """Whether each camera sees each of `points` `[M, 3]`: bool `[H, M]`; `reach` is how far it sees.

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
    """How far inside each border of a view points lie, negative outside: the sides, top, bottom, and the reach.

    Angles are compared by the signs of sines: sin(a - b) = sin a cos b - cos a sin b. The first three are in units
    of length.
    """
    axes = zip(points.unbind(dim=-1), views.centre.unbind(dim=-1), strict=True)
    x, y, z = (point - centre for point, centre in axes)
    sin_yaw, cos_yaw, sin_top, cos_top, sin_bottom, cos_bottom = views.edges.unbind(dim=-1)
    # Turned by the yaw alone: these views have level edges, however the camera tilts.
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
