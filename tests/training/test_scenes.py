"""The renderer: geometry, cameras, seeds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hyworld.camera import Trajectory
from training.tiny_world.paths import FOCAL, draw_walks, frame_poses, remembered
from training.tiny_world.scenes import FAR, Scenes, depths, draw_scenes, render, seen_from
from training.tiny_world.sizes import HELD_OUT_SEED

SIZE = (32, 64)


def _empty_room(half: float = 2.0, floor: float = 0.5, top: float = 0.8, open_air: float = 0.0) -> Scenes:
    scene = draw_scenes([0])
    scene.room[:] = torch.tensor([half, half, floor, top, open_air])
    scene.columns.zero_()
    scene.crates.zero_()
    scene.start[:] = torch.eye(4)
    return scene


def test_depth_of_walls_floor_and_ceiling() -> None:
    room = _empty_room()
    depth = depths(room, torch.eye(4)[None, None], FOCAL, SIZE)[0, 0]
    assert torch.allclose(depth[16, 20:44], torch.tensor(2.0), atol=1e-4), "the wall ahead"
    downwards = (2 * 31.5 / 32 - 1) / (2 * FOCAL[1])
    assert depth[31, 32] == pytest.approx(0.5 / downwards, rel=1e-4), "the floor"
    assert depth[0, 32] == pytest.approx(min(2.0, 0.8 / downwards), rel=1e-4), "the ceiling or the wall"
    nearer = torch.eye(4)
    nearer[2, 3] = 0.75
    assert depths(room, nearer[None, None], FOCAL, SIZE)[0, 0, 16, 32] == pytest.approx(1.25, abs=1e-4)


def test_a_courtyard_has_a_sky() -> None:
    depth = depths(_empty_room(open_air=1.0, top=0.3), torch.eye(4)[None, None], FOCAL, SIZE)[0, 0]
    assert (depth[0] == FAR).all()
    assert (depth[16] < 4).all()


def test_a_point_is_seen_where_the_engines_camera_puts_it() -> None:
    """A thin column at a known place, from every latent of a path of pose tokens."""
    room = _empty_room(half=4.0)
    room.columns[0, 0] = torch.tensor([0.3, 2.5, 0.06, 2.0])
    path = Trajectory.from_tokens("w-6, right-4, up-3, d-4, left-5")
    poses = torch.tensor(path.c2w).float()[None]
    H, W = 96, 192
    depth = depths(room, poses, FOCAL, (H, W))[0]
    empty = depths(_empty_room(half=4.0), poses, FOCAL, (H, W))[0]
    for latent, viewmat in enumerate(path.viewmats):
        x, y, z, _ = viewmat @ np.array([0.3, 0.0, 2.5, 1.0])
        column, row = (np.array([x * 2 * FOCAL[0], y * 2 * FOCAL[1]]) / z + 1) / 2 * (W, H)
        hit = (depth[latent] < empty[latent] - 0.05)[int(row)].nonzero().flatten().float()
        assert hit.numel(), f"latent {latent} does not see the column"
        assert abs(hit.mean() + 0.5 - column) < 1.0
        assert depth[latent, int(row), int(column)] == pytest.approx(z, abs=0.08)


def test_colours_stay_on_surfaces_when_the_camera_turns() -> None:
    scene = draw_scenes([3])
    path = Trajectory.from_tokens("right-6")
    poses = scene.start[:, None] @ torch.tensor(path.c2w).float()[None]
    size = (80, 144)
    pictures = render(scene, poses, FOCAL, size)
    depth = depths(scene, poses, FOCAL, size)
    seen = seen_from(depth, poses, depth[:, 0], poses[:, 0], FOCAL)
    assert seen[0, 0].float().mean() > 0.8
    assert 0.4 < seen[0, -1].float().mean() < 0.95, "18 of 89 degrees are new"
    # Where a wall's pixel of the last frame was in the first frame, the colour is the same.
    turn = np.radians(18.0)
    x = torch.linspace(-0.5, 0.2, 15)
    last = ((x * 2 * FOCAL[0] + 1) / 2 * size[1]).long()
    first = ((torch.tan(torch.atan(x) + turn) * 2 * FOCAL[0] + 1) / 2 * size[1]).long()
    assert (pictures[0, :, -1, 40, last] - pictures[0, :, 0, 40, first]).abs().median() < 0.05


def test_a_seed_is_a_scene_in_any_company() -> None:
    alone, together = draw_walks([7], 24), draw_walks([6, 7], 24)
    for one, two in zip(alone, together, strict=True):
        for name, value in vars(one).items():
            assert torch.equal(value[0], getattr(two, name)[1]), name
    assert not torch.equal(alone[0].materials, draw_scenes([HELD_OUT_SEED]).materials)


def test_frames_lie_between_latents() -> None:
    path = torch.from_numpy(Trajectory.from_tokens("right+w-3, up-2").c2w)
    frames = frame_poses(path[None])[0]
    assert len(frames) == 21
    assert torch.allclose(frames[::4], path, atol=1e-6), "a latent's pose is that of its last frame"
    half = frames[2]
    assert torch.allclose(half[:3, 3], path[1][:3, 3] / 2)
    assert np.degrees(np.arctan2(half[0, 2], half[0, 0])) == pytest.approx(1.5, abs=1e-4)


def test_fewer_points_choose_nearly_the_same_memory() -> None:
    from hyworld.config import MemoryConfig
    from hyworld.memory import sample_points

    poses = Trajectory.from_tokens("right-20, w-11, s-11, left-20, w-5").c2w
    config = MemoryConfig()
    few, many = (remembered(poses, sample_points(n), config) for n in (4_000, config.points))
    assert (few == many).float().mean() > 0.85
    assert (many[15, :4] < 8).all(), "back at the first view, the walk remembers it"
