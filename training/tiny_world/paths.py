"""Random walks that leave a view and come back, and camera poses of all frames.

Latent i has the pose of frame 4i, the last of its four, as in the original. The others are interpolated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyworld.camera.actions import labels as labels_of
from hyworld.camera.poses import integrate
from hyworld.camera.tokens import Motion, motion_of
from hyworld.camera.trajectory import default_intrinsics
from hyworld.config import CHUNK_LATENTS, VAE_TEMPORAL_STRIDE, MemoryConfig
from hyworld.memory import sample_points, select_memory_frames

from .scenes import Scenes, draw_scenes

MOVES = ("w", "w", "w", "s", "a", "d")
TURNS = ("left", "right")
PITCH_LIMIT = math.radians(25)
CLEARANCE = 0.22
"""Smallest distance of a walk from walls, columns and crates."""

FOCAL: tuple[float, float] = (float(default_intrinsics(1)[0, 0, 0]), float(default_intrinsics(1)[0, 1, 1]))


@dataclass(frozen=True)
class Walks:
    """N paths of L latents: poses `[N, L, 4, 4]` (camera-to-first-camera), labels `[N, L]`, memory `[N, L/4, 16]`.

    Row c of memory holds the min(4c, 16) latents that chunk c remembers, then zeros.
    """

    poses: Tensor
    labels: Tensor
    memory: Tensor


def random_motions(rng: np.random.Generator, latents: int) -> list[Motion]:
    """`latents` - 1 motions: wandering, a full turn, or out and back the same way."""
    kind = rng.random()
    if kind < 0.2:
        # Turn all round, with a few steps between.
        turn = rng.choice(TURNS)
        motions: list[Motion] = []
        while len(motions) < latents - 1:
            motions += [motion_of([turn])] * int(rng.integers(8, 40))
            motions += [motion_of([rng.choice(MOVES)])] * int(rng.integers(0, 5))
        return motions[: latents - 1]
    if kind < 0.7:
        # Out and back; the way out is less than half of the path.
        out = _wander(rng, int(rng.integers(8, latents // 2)))
        there_and_back = out + [_reversed(motion) for motion in reversed(out)]
        rest = latents - 1 - len(there_and_back)
        return (there_and_back + _wander(rng, max(rest, 0)))[: latents - 1]
    return _wander(rng, latents - 1)


def _wander(rng: np.random.Generator, length: int) -> list[Motion]:
    motions: list[Motion] = []
    pitch = 0.0
    while len(motions) < length:
        choice = rng.random()
        keys = []
        if choice < 0.55:
            keys.append(str(rng.choice(MOVES)))
        if choice > 0.4:
            keys.append(str(rng.choice(TURNS)))
        if rng.random() < 0.15:
            keys.append("up" if pitch < 0 else "down")
        motion = motion_of(keys)
        count = int(rng.integers(2, 21))
        if motion.pitch:
            count = min(count, int((PITCH_LIMIT + abs(pitch)) / abs(motion.pitch)))
            pitch += motion.pitch * count
        motions += [motion] * count
    return motions[:length]


def _reversed(motion: Motion) -> Motion:
    return Motion(forward=-motion.forward, right=-motion.right, yaw=-motion.yaw, pitch=-motion.pitch)


def free(scenes: Scenes, poses: Tensor) -> Tensor:
    """Whether camera poses `[S, L, 4, 4]` keep `CLEARANCE` in their scenes: bool `[S]`."""
    x, z = poses[:, :, None, 0, 3], poses[:, :, None, 2, 3]
    walls = torch.minimum(scenes.room[:, None, :1] - x.abs(), scenes.room[:, None, 1:2] - z.abs())
    columns = scenes.columns[:, None]
    to_columns = torch.hypot(x - columns[..., 0], z - columns[..., 1]) - columns[..., 2]
    crates = scenes.crates[:, None]
    to_crates = torch.hypot(
        ((x - crates[..., 0]).abs() - crates[..., 2]).clamp(min=0),
        ((z - crates[..., 1]).abs() - crates[..., 3]).clamp(min=0),
    )
    to_columns = torch.where(columns[..., 2] > 0, to_columns, 9.0)
    to_crates = torch.where(crates[..., 2] > 0, to_crates, 9.0)
    return (torch.cat((walls, to_columns, to_crates), dim=2) > CLEARANCE).all(dim=2).all(dim=1)


def draw_walk(seed: int, latents: int) -> tuple[Scenes, NDArray[np.float64]]:
    """Scene `seed` and a `free` walk `[L, 4, 4]` in it; after thirty failed tries, a turn on the spot."""
    scenes = draw_scenes([seed])
    rng = np.random.default_rng((seed, 1))
    for _ in range(30):
        poses = integrate(random_motions(rng, latents))
        if free(scenes, scenes.start[:, None].double() @ torch.from_numpy(poses)[None]).item():
            return scenes, poses
    turn = motion_of([str(rng.choice(TURNS))])
    return scenes, integrate([turn] * (latents - 1))


def remembered(poses: NDArray[np.float64], points: Tensor, config: MemoryConfig) -> Tensor:
    """The latents `[L / 4, 16]` that each chunk of a path `[L, 4, 4]` remembers, by `hyworld.memory`."""
    viewmats = torch.from_numpy(np.linalg.inv(poses))
    chunks = len(poses) // CHUNK_LATENTS
    table = torch.zeros(chunks, config.frames, dtype=torch.int64)
    for c in range(1, chunks):
        frames = select_memory_frames(viewmats, CHUNK_LATENTS * c, points, config)
        table[c, : len(frames)] = torch.tensor(frames)
    return table


def draw_walks(seeds: list[int], latents: int, points: int = 4_000) -> tuple[Scenes, Walks]:
    """Scenes and walks of `seeds`. Memory selection uses fewer `points` than `hyworld.walk`, for speed; its choice
    differs only between nearly equal clips."""
    cloud, config = sample_points(points), MemoryConfig()
    drawn = [draw_walk(seed, latents) for seed in seeds]
    scenes = Scenes(*(torch.cat(tables) for tables in zip(*(vars(scene).values() for scene, _ in drawn), strict=True)))
    walks = Walks(
        poses=torch.stack([torch.from_numpy(poses) for _, poses in drawn]).float(),
        labels=torch.stack([torch.from_numpy(labels_of(poses)) for _, poses in drawn]),
        memory=torch.stack([remembered(poses, cloud, config) for _, poses in drawn]),
    )
    return scenes, walks


def frame_poses(poses: Tensor) -> Tensor:
    """Poses `[N, 1 + 4(L-1), 4, 4]` of all frames, interpolated linearly from the latents' `[N, L, 4, 4]`."""
    before, after = poses[:, :-1], poses[:, 1:]
    relative = before[..., :3, :3].mT @ after[..., :3, :3]
    axis = torch.stack(
        (
            relative[..., 2, 1] - relative[..., 1, 2],
            relative[..., 0, 2] - relative[..., 2, 0],
            relative[..., 1, 0] - relative[..., 0, 1],
        ),
        dim=-1,
    )
    sine = axis.norm(dim=-1, keepdim=True) / 2
    angle = torch.asin(sine.clamp(max=1.0))
    axis = axis / (2 * sine).clamp(min=1e-9)
    frames = []
    for k in range(1, VAE_TEMPORAL_STRIDE + 1):
        share = k / VAE_TEMPORAL_STRIDE
        pose = after.clone()
        pose[..., :3, 3] = before[..., :3, 3] + share * (after[..., :3, 3] - before[..., :3, 3])
        pose[..., :3, :3] = before[..., :3, :3] @ _rotation(axis, share * angle)
        frames.append(pose)
    between = torch.stack(frames, dim=2).flatten(1, 2)
    return torch.cat((poses[:, :1], between), dim=1)


def _rotation(axis: Tensor, angle: Tensor) -> Tensor:
    """Rotation matrices `[..., 3, 3]` by `angle` `[..., 1]` about the unit `axis` `[..., 3]` (Rodrigues)."""
    x, y, z = axis.unbind(dim=-1)
    zero = torch.zeros_like(x)
    cross = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).unflatten(-1, (3, 3))
    sin, cos = angle[..., None].sin(), angle[..., None].cos()
    return torch.eye(3, dtype=axis.dtype, device=axis.device) + sin * cross + (1 - cos) * (cross @ cross)
