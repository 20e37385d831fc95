"""Memory selection: equal to the original, to the plain reference, and fast."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hyworld import Trajectory
from hyworld.camera import Motion, integrate
from hyworld.config import MemoryConfig
from hyworld.memory import reference, sample_points, select_memory_frames, select_memory_frames_reference, selection
from hyworld.verify import REFERENCE

CONFIG = MemoryConfig()
TENSORS = load_file(REFERENCE / "memory_selection.safetensors")
CASES = json.loads((REFERENCE / "memory_selection.json").read_text())
CLOUD = sample_points(800, seed=1)


def viewmats_of(tokens: str) -> Tensor:
    return torch.from_numpy(Trajectory.from_tokens(tokens).viewmats).float()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["pose"])
@pytest.mark.parametrize("select", [select_memory_frames, select_memory_frames_reference])
def test_equals_the_original(case: dict, select: object) -> None:
    viewmats = TENSORS[f"viewmats.{case['i']}"]
    for current, frames in case["selected"]:
        assert select(viewmats, current, TENSORS["points"], CONFIG) == tuple(frames)


def test_equals_the_original_rollout() -> None:
    data = load_file(REFERENCE / "rollout.safetensors")
    with safe_open(REFERENCE / "rollout.safetensors", "pt") as file:
        expected = json.loads(file.metadata()["memory_frames"])
    chosen = [select_memory_frames(data["viewmats"][0], 4 * i, data["points"], CONFIG) for i in range(len(expected))]
    assert chosen == [tuple(frames or ()) for frames in expected]


@pytest.mark.parametrize("current", [0, 4, 8, 12, 16])
def test_everything_is_remembered_while_it_fits(current: int) -> None:
    assert select_memory_frames(viewmats_of("w-19"), current, CLOUD, CONFIG) == tuple(range(current))


STEPS = st.builds(
    Motion,
    forward=st.sampled_from([0.0, 0.08, -0.08, 1.5]),
    right=st.sampled_from([0.0, 0.0, 0.08]),
    yaw=st.sampled_from([0.0, 0.05, -0.05, 0.7]),
    pitch=st.sampled_from([0.0, 0.0, 0.05, -0.05, 0.9]),
    orbit=st.sampled_from([0.0, 0.0, 0.0, 0.05]),
)


@st.composite
def walks(draw: st.DrawFn) -> Tensor:
    """World-to-camera walks of 36 latents: wandering, standing, or going back exactly the way they came."""
    motions = [motion for motion in draw(st.lists(STEPS, min_size=4, max_size=9)) for _ in range(4)]
    poses = torch.from_numpy(integrate(motions))
    if draw(st.booleans()):
        poses = torch.cat((poses, poses.flip(0)))
    return torch.linalg.inv(poses.repeat(36 // len(poses) + 1, 1, 1)[:36]).float()


@settings(deadline=None, max_examples=60)
@given(walks(), st.sampled_from([20, 24, 32]))
def test_equals_the_reference(viewmats: Tensor, current: int) -> None:
    fast = select_memory_frames(viewmats, current, CLOUD, CONFIG)
    assert fast == select_memory_frames_reference(viewmats, current, CLOUD, CONFIG)
    assert len(fast) == 16
    assert fast[4:] == tuple(range(current - 12, current))
    assert fast[:4] == tuple(range(fast[0], fast[0] + 4))
    assert fast[0] % 4 == 0
    assert fast[3] < current - 12


WIDE = MemoryConfig(fov_horizontal_deg=200, fov_vertical_deg=170, radius=3)


@settings(deadline=None, max_examples=60)
@given(walks(), st.sampled_from([CONFIG, WIDE]))
def test_overlaps_equal_the_reference_to_the_bit(viewmats: Tensor, config: MemoryConfig) -> None:
    queries, cameras = viewmats[32:], viewmats[:24:4]
    fast = selection.overlaps(queries, cameras, CLOUD, config)
    plain = [[reference.overlap(query, camera, CLOUD, config) for camera in cameras] for query in queries]
    assert fast.tolist() == plain


def points_on_the_borders(seed: int) -> Tensor:
    """All points lie on the edges of the query's view, to rounding, and on the reach of a camera that stands there."""
    unit = torch.rand(600, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    azimuth, elevation = (unit * torch.tensor([30.0, 17.5])).deg2rad().unbind(dim=1)
    azimuth[:200] = math.radians(30)
    elevation[200:400] = math.radians(-17.5)
    level = elevation.cos()
    return torch.stack((level * azimuth.sin(), elevation.sin(), level * azimuth.cos()), dim=1) * 8


@settings(deadline=None, max_examples=30)
@given(walks(), st.integers(0, 1000))
def test_points_on_the_borders_are_decided_as_in_the_reference(viewmats: Tensor, seed: int) -> None:
    points = points_on_the_borders(seed)
    cameras = torch.cat((viewmats[:4], viewmats[20:24]))
    fast = selection.overlaps(viewmats[20:24], cameras, points, CONFIG)
    plain = [[reference.overlap(query, camera, points, CONFIG) for camera in cameras] for query in viewmats[20:24]]
    assert fast.tolist() == plain


# What IEEE 754 defines to the last bit, and what moves numbers without changing them.
ARITHMETIC = {"add", "sub", "mul", "div", "sqrt"}
MOVES = {
    *("neg", "abs", "minimum", "where", "index", "index_put_", "stack", "cat", "unbind", "split", "slice", "select"),
    *("unsqueeze", "view", "t", "detach", "clone", "zeros", "ones", "_to_copy", "copy_", "lift_fresh", "scalar_tensor"),
}


class AnotherMachine(TorchDispatchMode):
    """Changes digits of whatever is not exact by definition: the last of float32, which must not decide, and in float64
    as many as reach the points' own rounding."""

    def __init__(self) -> None:
        super().__init__()
        self.noise = torch.Generator().manual_seed(0)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if not isinstance(result, Tensor) or not result.is_floating_point():
            return result
        exact = result.dtype == torch.float64
        if name in MOVES or (name in ARITHMETIC and exact):
            return result
        noise = torch.randint(-2, 3, result.shape, generator=self.noise)
        return result * (1 + noise * (1e-6 if exact else torch.finfo(result.dtype).eps))


@settings(deadline=None, max_examples=10)
@given(walks(), st.integers(0, 1000))
def test_the_last_bits_of_a_machines_arithmetic_decide_nothing(viewmats: Tensor, seed: int) -> None:
    points = points_on_the_borders(seed)
    cameras = torch.cat((viewmats[:4], viewmats[20:24]))
    here = selection.overlaps(viewmats[20:24], cameras, points, CONFIG)
    with AnotherMachine():
        there = selection.overlaps(viewmats[20:24], cameras, points, CONFIG)
    # One point more or less would be 1 / 600.
    torch.testing.assert_close(there, here, rtol=0, atol=1e-5)


@pytest.mark.parametrize("tokens", ["w-12, s-12, w-12, s-12", "right-30, left-30", "d-10, w-10, a-10, s-10, d-8"])
def test_returning_paths_equal_the_reference_with_the_full_cloud(tokens: str) -> None:
    viewmats, points = viewmats_of(tokens), sample_points()
    current = len(viewmats) // 4 * 4 - 4
    chosen = select_memory_frames(viewmats, current, points, CONFIG)
    assert chosen == select_memory_frames_reference(viewmats, current, points, CONFIG)


def test_of_equal_clips_the_earlier_is_taken() -> None:
    standing = torch.eye(4).repeat(40, 1, 1)
    assert select_memory_frames(standing, 36, CLOUD, CONFIG)[:4] == (0, 1, 2, 3)


def test_the_place_returned_to_is_remembered() -> None:
    """Look ahead, turn away for long, and turn back: the clip that looked ahead is wanted, not a later one."""
    there = [Motion()] * 7 + [Motion(yaw=math.pi / 2)] + [Motion()] * 19 + [Motion(yaw=-math.pi / 2)] + [Motion()] * 3
    viewmats = torch.linalg.inv(torch.from_numpy(integrate(there))).float()
    assert select_memory_frames(viewmats, 28, CLOUD, CONFIG)[:4] == (0, 1, 2, 3)
    assert select_memory_frames(viewmats, 24, CLOUD, CONFIG)[:4] == (8, 9, 10, 11)


def test_cameras_out_of_reach_share_nothing() -> None:
    poses = torch.from_numpy(integrate([Motion(forward=8.01), Motion(forward=-4.0)]))
    first, far, near = torch.linalg.inv(poses).float()
    overlap = selection.overlaps(first[None], torch.stack((first, far, near)), CLOUD, CONFIG)[0]
    assert overlap[0] == 1
    assert overlap[1] == 0
    assert 0 < overlap[2] < 1


def test_a_view_without_points_overlaps_with_nothing() -> None:
    behind = torch.tensor([[0.0, 0.0, -1.0]])
    viewmats = viewmats_of("w-31")
    assert selection.overlaps(viewmats[:2], viewmats[:3], behind, CONFIG).tolist() == [[0.0] * 3] * 2
    assert select_memory_frames(viewmats, 28, behind, CONFIG)[:4] == (0, 1, 2, 3)
    assert select_memory_frames_reference(viewmats, 28, behind, CONFIG)[:4] == (0, 1, 2, 3)


def test_latents_after_the_chunk_are_ignored_and_precision_of_the_input_does_not_matter() -> None:
    viewmats = torch.from_numpy(Trajectory.from_tokens("w-10, right-20, s-10, left-20").viewmats)
    chosen = select_memory_frames(viewmats[:40].float(), 36, CLOUD, CONFIG)
    assert select_memory_frames(viewmats, 36, CLOUD.double(), CONFIG) == chosen


@pytest.mark.parametrize(("current", "latents"), [(18, 40), (20, 20), (20, 23)])
def test_the_chunk_must_lie_inside_the_path(current: int, latents: int) -> None:
    with pytest.raises(ValueError, match=f"got {current} of {latents} latents"):
        select_memory_frames(torch.eye(4).repeat(latents, 1, 1), current, CLOUD, CONFIG)


def test_the_cloud_fills_a_ball_evenly() -> None:
    points = sample_points(20_000, radius=5.0, seed=3)
    assert points.shape == (20_000, 3)
    assert points.dtype == torch.float32
    distance = points.norm(dim=1)
    assert distance.max() <= 5.0 + 1e-5
    # Half the volume lies within radius / 2^(1/3); and no direction is preferred.
    assert (distance < 5.0 * 0.5 ** (1 / 3)).float().mean() == pytest.approx(0.5, abs=0.015)
    direction = points / distance[:, None]
    torch.testing.assert_close(direction.mean(dim=0), torch.zeros(3), rtol=0, atol=0.02)
    torch.testing.assert_close(direction.T @ direction / len(points), torch.eye(3) / 3, rtol=0, atol=0.015)


def test_the_cloud_is_fixed_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    cloud = sample_points(100)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(cloud, sample_points(100))
    assert not torch.equal(cloud, sample_points(100, seed=1))
    assert sample_points().shape == (50_000, 3)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("tokens", ["w-399", "w+right-399"])
def test_a_long_rollout_is_selected_in_milliseconds(tokens: str) -> None:
    """23 ms of one core; the limit leaves room for slower ones, and for threads that wait on busy ones."""
    viewmats, points = viewmats_of(tokens), sample_points()
    times = []
    for _ in range(5):
        begin = time.thread_time()
        select_memory_frames(viewmats, 396, points, CONFIG)
        times.append(time.thread_time() - begin)
    assert min(times) < 0.5
