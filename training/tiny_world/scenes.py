"""Random rooms and courtyards, ray cast: ground truth for any camera path.

A loop over primitives keeps the nearest hit, so that torch.compile makes one kernel and no tensor is
pixels x primitives. Coordinates: x right, y down, z forward, in the units of pose tokens (a key moves 0.08 per latent).
Shapes: S scenes, F frames, H rows, W columns.
"""

from __future__ import annotations

import colorsys
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

COLUMNS = 5
CRATES = 3
ROOM_FACES = 6  # walls +x, -x, +z, -z, floor, ceiling
FACES = ROOM_FACES + COLUMNS + CRATES

FAR = 1e4
"""Depth of the sky."""

SAMPLES = ((0.125, 0.375), (0.375, 0.875), (0.625, 0.125), (0.875, 0.625))
"""Positions in a pixel (column, row) of the rays whose mean is its colour (rotated grid)."""

PANEL = 7  # u, v, half width, half height, colour
MATERIAL = 3 + 3 + 4 + 3 + 1 + 2 * PANEL
"""Numbers per surface: two colours, frequencies and phases along u and v, weights of three waves, sharpness, panels."""


@dataclass(frozen=True)
class Scenes:
    """S scenes, float32.

    room: `[S, 5]` half sizes along x and z, floor below and wall top above the origin (both positive), 1 if open.
    start: `[S, 4, 4]` camera-to-scene pose that a path begins at.
    columns: `[S, COLUMNS, 4]` x, z, radius (0: absent), top above the origin.
    crates: `[S, CRATES, 5]` x, z, half sizes along x and z (0: absent), top above the origin (may be negative).
    materials: `[S, FACES, MATERIAL]`.
    sky: `[S, 12]` colours at the horizon and above, of the hills, their frequency, phase and height.
    light: `[S, 7]` direction towards the light, strength, ambient, lamp's height above the origin, lamp's strength.
    """

    room: Tensor
    start: Tensor
    columns: Tensor
    crates: Tensor
    materials: Tensor
    sky: Tensor
    light: Tensor

    @property
    def tables(self) -> tuple[Tensor, ...]:
        """All but `start`, for rendering."""
        return self.room, self.columns, self.crates, self.materials, self.sky, self.light

    def __len__(self) -> int:
        return len(self.room)

    def __getitem__(self, index: slice | list[int] | Tensor) -> Scenes:
        return Scenes(*(getattr(self, field.name)[index] for field in fields(self)))

    def to(self, device: torch.device | str) -> Scenes:
        return Scenes(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))


def draw_scenes(seeds: list[int]) -> Scenes:
    """One scene for each seed, independent of the other seeds."""
    drawn = [_draw(np.random.default_rng(seed)) for seed in seeds]
    return Scenes(*(torch.from_numpy(np.stack(values).astype(np.float32)) for values in zip(*drawn, strict=True)))


def _draw(rng: np.random.Generator) -> tuple[NDArray[np.float64], ...]:
    half = rng.uniform(1.6, 3.2, size=2)
    courtyard = rng.random() < 0.5
    floor = rng.uniform(0.45, 0.7)
    top = rng.uniform(0.5, 0.9) if courtyard else rng.uniform(0.6, 1.2)
    room = np.array([*half, floor, top, float(courtyard)])

    # Near the middle, so that a walk has room in every direction.
    x, z = rng.uniform(-0.45, 0.45, size=2) * half
    yaw = rng.uniform(-math.pi, math.pi)
    start = np.eye(4)
    start[0, 0] = start[2, 2] = math.cos(yaw)
    start[0, 2], start[2, 0] = math.sin(yaw), -math.sin(yaw)
    start[0, 3], start[2, 3] = x, z

    taken = [(x, z, 0.9)]  # x, z, radius of circles kept free
    columns = np.zeros((COLUMNS, 4))
    for column in columns[: rng.integers(2, COLUMNS + 1)]:
        radius = rng.uniform(0.1, 0.24)
        place = _free_place(rng, half, radius, taken)
        if place is not None:
            column[:] = (*place, radius, rng.uniform(0.3, 0.8) if courtyard else top + 0.1)
    crates = np.zeros((CRATES, 5))
    for crate in crates[: rng.integers(1, CRATES + 1)]:
        size = rng.uniform(0.15, 0.35, size=2)
        place = _free_place(rng, half, float(np.hypot(*size)), taken)
        if place is not None:
            crate[:] = (*place, *size, rng.uniform(-0.25, 0.35))

    base = rng.random()
    sky: NDArray[np.float64] = np.concatenate(
        (
            _colour(rng, rng.uniform(0.5, 0.65), (0.1, 0.3), (0.85, 1.0)),
            _colour(rng, rng.uniform(0.52, 0.68), (0.4, 0.75), (0.6, 0.95)),
            _colour(rng, rng.random(), (0.2, 0.5), (0.35, 0.6)),
            np.array([rng.integers(2, 6), rng.uniform(0, 2 * math.pi), rng.uniform(0.03, 0.1)]),
        )
    )
    direction = np.array([rng.normal(), -rng.uniform(0.8, 1.6), rng.normal()])
    strength, ambient = (rng.uniform(0.35, 0.5), rng.uniform(0.6, 0.7)) if courtyard else (0.15, rng.uniform(0.5, 0.6))
    lamp = 0.0 if courtyard else rng.uniform(0.45, 0.6)
    light = np.array([*direction / np.linalg.norm(direction), strength, ambient, 0.8 * top, lamp])
    return room, start, columns, crates, _materials(rng, base, room), sky, light


def _free_place(
    rng: np.random.Generator, half: NDArray[np.float64], radius: float, taken: list[tuple[float, float, float]]
) -> tuple[float, float] | None:
    for _ in range(20):
        x, z = rng.uniform(-1, 1, size=2) * (half - radius - 0.05)
        if all(math.hypot(x - other_x, z - other_z) > radius + other for other_x, other_z, other in taken):
            taken.append((x, z, radius + 0.25))
            return x, z
    return None


def _colour(
    rng: np.random.Generator, hue: float, saturation: tuple[float, float], value: tuple[float, float]
) -> NDArray[np.float64]:
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, rng.uniform(*saturation), rng.uniform(*value)))


def _materials(rng: np.random.Generator, base: float, room: NDArray[np.float64]) -> NDArray[np.float64]:
    table = np.zeros((FACES, MATERIAL))
    wall_hues = base + rng.permutation(4) / 4 + rng.uniform(-0.07, 0.07, size=4)
    for face, row in enumerate(table):
        wall, ground = face < 4, 4 <= face < ROOM_FACES
        hue = wall_hues[face] if wall else rng.random()
        saturation = (0.05, 0.35) if ground else (0.4, 0.85)
        first = _colour(rng, hue, saturation, (0.45, 0.95))
        second = _colour(rng, hue + rng.choice([0.0, 0.0, 0.08, 0.5]), saturation, (0.3, 0.95))
        waves = np.eye(3)[rng.integers(3)] if rng.random() < 0.8 else np.array([0.5, 0.5, 0.5])
        frequency = rng.uniform(0.5, 2.2, size=2) if ground else rng.uniform(0.4, 2.0, size=2)
        if face >= ROOM_FACES:
            # Around a column u is an angle in turns, so the number of waves must be whole.
            frequency = np.array([rng.integers(1, 5), rng.uniform(1.0, 3.0)])
        row[:14] = (
            *first,
            *second,
            *frequency,
            *rng.uniform(0, 2 * math.pi, size=2),
            *waves,
            rng.choice([0.8, 3.0, 8.0]),
        )
        row[16], row[23] = -1.0, -1.0
        for panel in range(rng.integers(1, 3) if wall else 0):
            along = room[1] if face < 2 else room[0]
            width, height = rng.uniform(0.15, 0.5), rng.uniform(0.12, 0.3)
            row[14 + PANEL * panel : 14 + PANEL * (panel + 1)] = (
                rng.uniform(-0.8, 0.8) * along,
                rng.uniform(-0.3, 0.25),
                width,
                height,
                *_colour(rng, rng.random(), (0.3, 0.9), (0.25, 1.0)),
            )
    return table


def render(
    scenes: Scenes, poses: Tensor, focal: tuple[float, float], size: tuple[int, int], *, compiled: bool = False
) -> Tensor:
    """Pictures `[S, 3, F, H, W]` in [-1, 1] from camera-to-scene `poses` `[S, F, 4, 4]`.

    focal: fx/2cx and fy/2cy as in `Trajectory.intrinsics`. size: (H, W). compiled: use torch.compile, for CUDA.
    """
    shade = _compiled_shade() if compiled else _shade
    offsets = torch.tensor(SAMPLES, device=poses.device)
    total = functools.reduce(torch.add, (shade(scenes.tables, poses, focal, size, offset) for offset in offsets))
    return (total * (2 / len(SAMPLES)) - 1).transpose(0, 1)


def depths(scenes: Scenes, poses: Tensor, focal: tuple[float, float], size: tuple[int, int]) -> Tensor:
    """Depth `[S, F, H, W]` along the optical axis at pixel centres; `FAR` for the sky."""
    centre = torch.full((2,), 0.5, device=poses.device)
    origin, ray = _rays(poses, focal, size, centre)
    return _nearest(scenes.tables, origin, ray).depth.clamp(max=FAR)


@functools.cache
def _compiled_shade() -> Callable[..., Tensor]:
    return torch.compile(_shade, dynamic=True)


class _Hit(NamedTuple):
    """Nearest surfaces, each `[S, F, H, W]`."""

    depth: Tensor
    face: Tensor
    normal: tuple[Tensor, Tensor, Tensor]
    u: Tensor
    v: Tensor
    sky: Tensor


Tables = tuple[Tensor, ...]


def _rays(
    poses: Tensor, focal: tuple[float, float], size: tuple[int, int], offset: Tensor
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Origins `[S, F, 1, 1]` and directions `[S, F, H, W]` per coordinate; depth 1 along the optical axis."""
    H, W = size
    x = (2 * (torch.arange(W, device=poses.device) + offset[0]) / W - 1) / (2 * focal[0])
    y = (2 * (torch.arange(H, device=poses.device) + offset[1]) / H - 1) / (2 * focal[1])
    y = y[:, None]
    R = poses[..., None, None]
    ray = tuple(R[:, :, i, 0] * x + R[:, :, i, 1] * y + R[:, :, i, 2] for i in range(3))
    return tuple(R[:, :, i, 3] for i in range(3)), ray


def _away_from_zero(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 1e-6, torch.where(x < 0, -1e-6, 1e-6), x)


def _column(table: Tensor, *index: int) -> Tensor:
    """One number per scene, `[S, 1, 1, 1]`."""
    for i in index:
        table = table[:, i]
    return table[:, None, None, None]


def _nearest(tables: Tables, origin: tuple[Tensor, ...], ray: tuple[Tensor, ...]) -> _Hit:
    room, columns, crates = tables[:3]
    (ox, oy, oz), (dx, dy, dz) = origin, ray
    dx, dy, dz = (_away_from_zero(d) for d in (dx, dy, dz))
    hx, hz, floor, top, open_air = (_column(room, i) for i in range(5))

    to_x = (torch.where(dx > 0, hx, -hx) - ox) / dx
    to_z = (torch.where(dz > 0, hz, -hz) - oz) / dz
    to_y = (torch.where(dy > 0, floor, -top) - oy) / dy
    # Without a ceiling, rays upwards hit a wall or pass over it into the sky.
    to_y = torch.where((dy < 0) & (open_air > 0), FAR, to_y)
    side = to_x < to_z
    to_wall = torch.where(side, to_x, to_z)
    level = to_y < to_wall
    t = torch.where(level, to_y, to_wall)
    face = torch.where(
        level, torch.where(dy > 0, 4, 5), torch.where(side, torch.where(dx > 0, 0, 1), torch.where(dz > 0, 2, 3))
    )
    zero = torch.zeros_like(t)
    nx = torch.where(level | ~side, zero, -dx.sign())
    ny = torch.where(level, -dy.sign(), zero)
    nz = torch.where(level | side, zero, -dz.sign())
    y = oy + t * dy
    sky = y < -top - 1e-3
    t = torch.where(sky, FAR, t)
    x, z = ox + t * dx, oz + t * dz
    u = torch.where(side & ~level, z, x)
    v = torch.where(level, z, y)

    for i in range(COLUMNS):
        cx, cz, radius, height = (_column(columns, i, j) for j in range(4))
        px, pz = ox - cx, oz - cz
        a = dx * dx + dz * dz
        b = px * dx + pz * dz
        c = px * px + pz * pz - radius * radius
        root = b * b - a * c
        near = (-b - root.clamp(min=0).sqrt()) / a
        y = oy + near * dy
        hit = (root > 0) & (near > 0) & (near < t) & (y > -height) & (y < floor) & (radius > 0)
        t = torch.where(hit, near, t)
        face = torch.where(hit, ROOM_FACES + i, face)
        scale = 1 / radius.clamp(min=1e-3)
        sx, sz = (px + near * dx) * scale, (pz + near * dz) * scale
        nx, ny, nz = torch.where(hit, sx, nx), torch.where(hit, zero, ny), torch.where(hit, sz, nz)
        u = torch.where(hit, torch.atan2(sx, sz) / (2 * math.pi), u)
        v = torch.where(hit, y, v)
        sky = sky & ~hit

    for i in range(CRATES):
        cx, cz, half_x, half_z, height = (_column(crates, i, j) for j in range(5))
        near_x = (cx - torch.where(dx > 0, half_x, -half_x) - ox) / dx
        near_z = (cz - torch.where(dz > 0, half_z, -half_z) - oz) / dz
        near_y = (torch.where(dy > 0, -height, floor) - oy) / dy
        far_x = (cx + torch.where(dx > 0, half_x, -half_x) - ox) / dx
        far_z = (cz + torch.where(dz > 0, half_z, -half_z) - oz) / dz
        far_y = (torch.where(dy > 0, floor, -height) - oy) / dy
        near = torch.maximum(torch.maximum(near_x, near_z), near_y)
        far = torch.minimum(torch.minimum(far_x, far_z), far_y)
        hit = (near < far) & (near > 0) & (near < t) & (half_x > 0)
        on_x, on_y = near == near_x, near == near_y
        x, y, z = ox + near * dx, oy + near * dy, oz + near * dz
        t = torch.where(hit, near, t)
        face = torch.where(hit, ROOM_FACES + COLUMNS + i, face)
        nx = torch.where(hit, torch.where(on_x, -dx.sign(), zero), nx)
        ny = torch.where(hit, torch.where(on_y, -dy.sign(), zero), ny)
        nz = torch.where(hit, torch.where(on_x | on_y, zero, -dz.sign()), nz)
        u = torch.where(hit, torch.where(on_x, z, x), u)
        v = torch.where(hit, torch.where(on_y, z, y), v)
        sky = sky & ~hit
    return _Hit(t, face, (nx, ny, nz), u, v, sky)


def _shade(tables: Tables, poses: Tensor, focal: tuple[float, float], size: tuple[int, int], offset: Tensor) -> Tensor:
    """Colour `[3, S, F, H, W]` in [0, 1] at `offset` (column, row) in each pixel."""
    origin, ray = _rays(poses, focal, size, offset)
    hit = _nearest(tables, origin, ray)
    room, columns, _, materials, sky, light = tables
    scene = torch.arange(len(materials), device=materials.device)[:, None, None, None]
    rows = materials.flatten(0, 1)
    index = scene * FACES + hit.face

    def material(i: int) -> Tensor:
        return rows[:, i][index]

    length = (ray[0] ** 2 + ray[1] ** 2 + ray[2] ** 2).sqrt()
    facing = sum(n * d for n, d in zip(hit.normal, ray, strict=True)).abs() / length  # type: ignore[union-attr]
    # Width of a pixel on the surface; at grazing angles between its two side lengths.
    foot = hit.depth / (size[1] * focal[0]) / facing.clamp(min=0.08).sqrt()

    fu, fv = material(6), material(7)
    wave_u = torch.sin(2 * math.pi * fu * hit.u + material(8))
    wave_v = torch.sin(2 * math.pi * fv * hit.v + material(9))
    wave = material(10) * wave_u + material(11) * wave_v + material(12) * wave_u * wave_v
    # Anti-aliasing: a pattern finer than a pixel fades to its mean colour.
    sharpness = 1 / (1 / material(13) + 4 * math.pi * torch.maximum(fu, fv) * foot)
    mix = 0.5 + 0.5 * torch.tanh(sharpness * wave)

    covers = []
    for panel in range(2):
        at = 14 + PANEL * panel
        outside = torch.maximum(
            (hit.u - material(at)).abs() - material(at + 2), (hit.v - material(at + 1)).abs() - material(at + 3)
        )
        covers.append((0.5 - outside / (foot + 0.004)).clamp(0, 1))

    sun = sum(n * _column(light, i) for i, n in enumerate(hit.normal)).clamp(min=0)  # type: ignore[union-attr]
    x, y, z = (o + hit.depth * d for o, d in zip(origin, ray, strict=True))
    lamp_y = y + _column(light, 5)
    lamp = 1 / (1 + 0.35 * (x * x + lamp_y * lamp_y + z * z))
    brightness = _column(light, 3) * sun + _column(light, 4) + _column(light, 6) * lamp
    above_floor = _column(room, 2) - y
    brightness = brightness * (1 - 0.35 * torch.exp(-above_floor.clamp(min=0) * 12) * (hit.face != 4))
    for i in range(COLUMNS):  # soft shadows at the columns' feet
        gap = ((x - _column(columns, i, 0)) ** 2 + (z - _column(columns, i, 1)) ** 2).sqrt() - _column(columns, i, 2)
        shadow = torch.exp(-gap.clamp(min=0) * 8) * (_column(columns, i, 2) > 0) * (hit.face == 4)
        brightness = brightness * (1 - 0.45 * shadow)

    horizontal = (ray[0] ** 2 + ray[2] ** 2).sqrt()
    elevation = torch.atan2(-ray[1], horizontal)
    azimuth = torch.atan2(ray[0], ray[2])
    ridge = _column(sky, 11) * (
        2 + torch.sin(_column(sky, 9) * azimuth + _column(sky, 10)) + 0.5 * torch.sin(3 * azimuth)
    )
    hills = (0.5 - (elevation - ridge) * size[1] * focal[0]).clamp(0, 1)
    height = (elevation / 0.6).clamp(0, 1)

    channels = []
    for c in range(3):
        surface = material(c) + (material(3 + c) - material(c)) * mix
        for panel, cover in enumerate(covers):
            surface = surface + (material(14 + PANEL * panel + 4 + c) - surface) * cover
        air = _column(sky, c) + (_column(sky, 3 + c) - _column(sky, c)) * height
        air = air + (_column(sky, 6 + c) - air) * hills
        channels.append(torch.where(hit.sky, air, (surface * brightness).clamp(0, 1)))
    return torch.stack(channels)


def seen_from(
    depth: Tensor, pose: Tensor, first_depth: Tensor, first_pose: Tensor, focal: tuple[float, float]
) -> Tensor:
    """Mask `[S, F, H, W]` of pixels whose content the first picture shows.

    depth `[S, F, H, W]` of cameras `pose` `[S, F, 4, 4]`; first_depth `[S, H, W]` of `first_pose` `[S, 4, 4]`.
    """
    _, F, H, W = depth.shape
    origin, ray = _rays(pose, focal, (H, W), torch.full((2,), 0.5, device=depth.device))
    point = torch.stack([o + depth * d for o, d in zip(origin, ray, strict=True)], dim=-1)
    R, centre = first_pose[:, :3, :3], first_pose[:, :3, 3]
    x, y, z = ((point - centre[:, None, None, None]).flatten(1, 3) @ R).unflatten(1, (F, H, W)).unbind(dim=-1)
    ahead = z.clamp(min=1e-3)
    column = ((x / ahead * 2 * focal[0] + 1) * W / 2).floor().long()
    row = ((y / ahead * 2 * focal[1] + 1) * H / 2).floor().long()
    inside = (z > 1e-3) & (column >= 0) & (column < W) & (row >= 0) & (row < H)
    index = (row.clamp(0, H - 1) * W + column.clamp(0, W - 1)).flatten(1)
    there = first_depth.flatten(1).gather(1, index).unflatten(1, (F, H, W))
    return inside & ((z - there).abs() < 0.04 * there)
