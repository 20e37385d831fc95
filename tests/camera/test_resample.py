"""Other frame rates become latents; other units become the model's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyworld import InputError, Speeds, Trajectory
from hyworld.camera.pose_json import PoseData
from hyworld.camera.quaternions import from_rotations, powers, to_rotations
from hyworld.camera.resample import to_frames, to_latents
from hyworld.camera.units import median_move, scaled


def poses_of(tokens: str, **speeds: float) -> PoseData:
    path = Trajectory.from_tokens(tokens, Speeds(**speeds))
    return PoseData(path.c2w, path.intrinsics, path.labels)


@pytest.mark.parametrize("fps", [1.0, 2.0, 24.0, 29.97, 60.0])
def test_a_steady_motion_stays_steady_at_any_rate(fps: float) -> None:
    per_latent = 4 / fps
    steps = math.ceil(3 * fps)
    for source, expected in (
        (poses_of(f"left-{steps}", turn_deg=6 * per_latent), poses_of("left-12", turn_deg=6)),
        (poses_of(f"w-{steps}", move=0.08 * per_latent), poses_of("w-12")),
    ):
        np.testing.assert_allclose(to_latents(source, "It", fps).c2w, expected.c2w, rtol=0, atol=1e-9)


def test_one_pose_per_latent_stays_as_it_is() -> None:
    poses = poses_of("w-3, left-5")
    assert to_latents(poses, "It") is poses
    for same in (to_latents(poses, "It", 4), to_latents(poses._replace(seconds=7 + np.arange(9) / 4), "It")):
        assert same.c2w is poses.c2w
        assert same.labels is poses.labels
        assert same.seconds is None


def test_uneven_times() -> None:
    poses = poses_of("w-3", move=1.0)._replace(seconds=np.array([0.0, 0.1, 1.0, 1.1]))
    latents = to_latents(poses, "It")
    np.testing.assert_allclose(latents.c2w[:, 2, 3], [0, 1 + 0.15 / 0.9, 1 + 0.4 / 0.9, 1 + 0.65 / 0.9, 2])
    as_many = to_latents(poses_of("w-2", move=1.0)._replace(seconds=np.array([0.0, 0.4, 0.5])), "It")
    np.testing.assert_allclose(as_many.c2w[:, 2, 3], [0, 0.625, 2])
    assert latents.notes == ("It has 4 poses in 1.10 s, read as 5 latents of 0.25 s.",)


def test_a_single_pose() -> None:
    poses = poses_of("w-0.5")
    for latents in (to_latents(poses, "It", 30), to_frames(poses)):
        assert (latents.c2w == poses.c2w).all()


def test_every_fourth_frame_is_a_latent() -> None:
    poses = poses_of("w+right-5, up-2")
    frames = to_frames(poses)
    assert len(frames.c2w) == 29
    np.testing.assert_allclose(frames.c2w[::4], poses.c2w, rtol=0, atol=1e-12)
    R = frames.c2w[:, :3, :3]
    np.testing.assert_allclose(R @ R.transpose(0, 2, 1), np.broadcast_to(np.eye(3), R.shape), atol=1e-12)


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_frame_rates_that_are_refused(fps: float) -> None:
    with pytest.raises(InputError, match=r"The frame rate \(fps\) must be a number above 0"):
        to_latents(poses_of("w-3"), "It", fps)


def test_a_path_too_long_is_refused_before_it_is_made() -> None:
    with pytest.raises(InputError, match="more than 100000 latents"):
        to_latents(poses_of("w-3"), "It", 1e-9)


UNIT = st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 1e-3)


@given(UNIT, st.floats(0, 1))
def test_quaternions(q: list[float], share: float) -> None:
    unit = np.array([q]) / np.linalg.norm(q)
    R = to_rotations(unit)
    np.testing.assert_allclose(R[0] @ R[0].T, np.eye(3), atol=1e-12)
    again = from_rotations(R)
    assert again[0, 0] >= 0
    np.testing.assert_allclose(abs((again * unit).sum()), 1, atol=1e-12)
    part, rest = powers(again, np.array([share])), powers(again, np.array([1 - share]))
    np.testing.assert_allclose(to_rotations(part)[0] @ to_rotations(rest)[0], R[0], atol=1e-9)


def test_quaternions_turn_as_matrices_do() -> None:
    """A quarter turn about z takes x to y."""
    half = np.sqrt(0.5)
    np.testing.assert_allclose(to_rotations(np.array([[half, 0, 0, half]]))[0] @ (1, 0, 0), (0, 1, 0), atol=1e-12)


def test_auto_scale_brings_the_median_motion_to_that_of_training() -> None:
    poses = poses_of("w-3, right-20, d-4, w+d-1", move=7.0)
    result = scaled(poses, "It", "auto")
    assert median_move(result.c2w) == pytest.approx(0.08)
    np.testing.assert_allclose(result.c2w[:, :3, 3], poses.c2w[:, :3, 3] * 0.08 / 7, rtol=0, atol=1e-12)
    assert (result.c2w[:, :3, :3] == poses.c2w[:, :3, :3]).all()
    assert result.notes == ("It moves 7 units per latent (median), scaled by 0.01143 to 0.08.",)


def test_a_path_that_does_not_move_has_no_scale() -> None:
    poses = scaled(poses_of("right-4"), "It", "auto")
    assert (poses.c2w == poses_of("right-4").c2w).all()
    assert "does not move" in poses.notes[0]


@pytest.mark.parametrize(("move", "noted"), [(0.08, False), (0.021, False), (0.31, False), (0.33, True), (0.01, True)])
def test_an_unusual_speed_is_told(move: float, noted: bool) -> None:
    notes = scaled(poses_of("w-4", move=move), "It").notes
    assert any("scale auto brings it there" in note for note in notes) is noted


@pytest.mark.parametrize("scale", [0, -1, float("nan"), "fast", "inf"])
def test_scales_that_are_refused(scale: float | str) -> None:
    with pytest.raises(InputError, match='The scale must be "auto" or a number above 0'):
        scaled(poses_of("w-3"), "It", scale)


def test_a_scale_that_leads_too_far_is_refused() -> None:
    with pytest.raises(InputError, match=r"reaches 2.4e\+11 units when scaled by 1e\+12: choose a"):
        scaled(poses_of("w-3"), "It", 1e12)


def test_tokens_have_neither_rate_nor_units() -> None:
    for options in ({"fps": 24.0}, {"scale": 2.0}, {"scale": "auto"}):
        with pytest.raises(InputError, match="leave out fps and scale"):
            Trajectory.load("w-3", **options)
