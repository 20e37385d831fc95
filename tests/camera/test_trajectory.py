"""Trajectories: parity with the original, geometry, chunks, joining and loading."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyworld import InputError, Speeds, Trajectory
from hyworld.camera import KEYS, label
from hyworld.verify import REFERENCE

GOLDEN = json.loads((REFERENCE / "trajectories.json").read_text())

TOKENS = st.lists(st.tuples(st.sampled_from(sorted(KEYS)), st.integers(1, 12)), min_size=1, max_size=8).map(
    lambda tokens: ", ".join(f"{key}-{count}" for key, count in tokens)
)
REVERSED = {"w": "s", "a": "d", "up": "down", "left": "right", "orbit_left": "orbit_right"}
REVERSED |= {back: there for there, back in REVERSED.items()}


def same(a: Trajectory, b: Trajectory) -> None:
    np.testing.assert_allclose(a.c2w, b.c2w, rtol=0, atol=1e-9)
    np.testing.assert_allclose(a.intrinsics, b.intrinsics, rtol=0, atol=1e-9)
    assert a.labels.tolist() == b.labels.tolist()


@pytest.mark.parametrize("entry", GOLDEN, ids=lambda entry: entry["pose"])
def test_equals_the_original(entry: dict) -> None:
    path = Trajectory.from_tokens(entry["pose"])
    np.testing.assert_allclose(path.c2w, entry["c2w"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(path.viewmats, entry["viewmats"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(path.intrinsics, entry["Ks"], rtol=0, atol=1e-9)
    assert path.labels.tolist() == entry["action"]


@given(TOKENS)
def test_poses_are_rigid_and_start_at_the_identity(tokens: str) -> None:
    path = Trajectory.from_tokens(tokens)
    assert len(path) == 1 + sum(int(token.split("-")[1]) for token in tokens.split(","))
    assert (path.c2w[0] == np.eye(4)).all()
    R = path.c2w[:, :3, :3]
    np.testing.assert_allclose(R @ R.transpose(0, 2, 1), np.broadcast_to(np.eye(3), R.shape), rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(R), 1, rtol=0, atol=1e-12)
    assert (path.c2w[:, 3] == (0, 0, 0, 1)).all()
    np.testing.assert_allclose(path.viewmats @ path.c2w, np.broadcast_to(np.eye(4), path.c2w.shape), atol=1e-12)


@given(st.lists(st.tuples(st.sampled_from(sorted(KEYS)), st.integers(1, 12)), min_size=1, max_size=6))
def test_the_reversed_keys_lead_back(tokens: list[tuple[str, int]]) -> None:
    there = [f"{key}-{count}" for key, count in tokens]
    back = [f"{REVERSED[key]}-{count}" for key, count in reversed(tokens)]
    path = Trajectory.from_tokens(", ".join(there + back))
    np.testing.assert_allclose(path.c2w[-1], np.eye(4), rtol=0, atol=1e-12)
    np.testing.assert_allclose(path.c2w, path.c2w[::-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("token", "position", "forward"),
    [
        ("w-1", (0, 0, 2), (0, 0, 1)),
        ("s-1", (0, 0, -2), (0, 0, 1)),
        ("d-1", (2, 0, 0), (0, 0, 1)),
        ("a-1", (-2, 0, 0), (0, 0, 1)),
        ("right-2", (0, 0, 0), (1, 0, 0)),
        ("left-2", (0, 0, 0), (-1, 0, 0)),
        ("up-2", (0, 0, 0), (0, -1, 0)),
        ("down-2", (0, 0, 0), (0, 1, 0)),
        ("right-2, w-1", (2, 0, 0), (1, 0, 0)),
        ("orbit_right-2", (-3, 0, 3), (1, 0, 0)),
        ("orbit_left-2", (3, 0, 3), (-1, 0, 0)),
    ],
)
def test_directions(token: str, position: tuple[int, ...], forward: tuple[int, ...]) -> None:
    path = Trajectory.from_tokens(token, Speeds(move=2, turn_deg=45, orbit_radius=3))
    np.testing.assert_allclose(path.c2w[-1, :3, 3], position, atol=1e-12)
    np.testing.assert_allclose(path.c2w[-1, :3, 2], forward, atol=1e-12)


def test_within_a_latent_turns_come_before_moves_and_orbits_last() -> None:
    speeds = Speeds(move=2, turn_deg=45, orbit_radius=3)
    together = Trajectory.from_tokens("orbit_right+up+d+w+right-1", speeds)
    apart = Trajectory.from_tokens("right-1, up-1, w-1, d-1, orbit_right-1", speeds)
    np.testing.assert_allclose(together.c2w[-1], apart.c2w[-1], atol=1e-12)


def test_an_orbit_keeps_looking_at_its_pivot() -> None:
    path = Trajectory.from_tokens("w-3, up-4, orbit_left-40", Speeds(orbit_radius=2.5))
    pivots = path.c2w[7:, :3, 3] + 2.5 * path.c2w[7:, :3, 2]
    np.testing.assert_allclose(pivots, np.broadcast_to(pivots[0], pivots.shape), atol=1e-12)


@pytest.mark.parametrize(
    ("tokens", "third_person", "last"),
    [
        ("orbit_left-2", None, label("none", "left")),
        ("orbit_left-2", False, label("right", "left")),
        ("w+left-2", None, label("forward", "left")),
        ("w+left-2", True, label("none", "left")),
    ],
)
def test_third_person_is_on_with_an_orbit_unless_said(tokens: str, third_person: bool | None, last: int) -> None:
    assert Trajectory.from_tokens(tokens, third_person=third_person).labels[-1] == last


def test_notes_of_the_tokens_are_kept() -> None:
    assert Trajectory.from_tokens("w-2.5").notes == ('Token 1, "w-2.5", lasts 2 latents: counts are rounded down.',)


def test_is_immutable() -> None:
    pose = np.eye(4)[None]
    path = Trajectory(pose, np.eye(3)[None], np.zeros(1, np.int64))
    for array in (path.c2w, path.intrinsics, path.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1
    pose[:] = 7
    assert (path.c2w == np.eye(4)).all()


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"Trajectory.intrinsics must have the shape \(1, 3, 3\)"):
        Trajectory(np.eye(4)[None], np.eye(3), np.zeros(1, np.int64))


def test_chunks_partition_the_path() -> None:
    path = Trajectory.from_tokens("w-3, right-6, d-4")
    assert (len(path), path.chunks) == (14, 3)
    for i, chunk in enumerate(path.split(4)):
        assert len(chunk) == 4
        assert (chunk.c2w == path.c2w[4 * i : 4 * i + 4]).all()
        assert chunk.labels.tolist() == path.labels[4 * i : 4 * i + 4].tolist()
    assert i == 2
    assert [len(part) for part in path.split(5)] == [5, 5]
    assert path.split(15) == []


def test_other_labels() -> None:
    path = Trajectory.from_tokens("w-3")
    other = path.with_labels([0, 5, 80, 1])
    assert other.labels.tolist() == [0, 5, 80, 1]
    assert (other.c2w == path.c2w).all()
    with pytest.raises(InputError, match="4 latents and needs one action label for each, got 3"):
        path.with_labels([1, 2, 3])
    for wrong in ([0, 0, 0, 81], [0, 0, 0, -1], [0.0, 0.5, 0.0, 0.0]):
        with pytest.raises(InputError, match="whole numbers from 0 to 80"):
            path.with_labels(wrong)


@given(TOKENS, TOKENS)
def test_joining_equals_one_path(first: str, second: str) -> None:
    third_person = True  # said, because by default it depends on the whole path
    a, b = (Trajectory.from_tokens(tokens, third_person=third_person) for tokens in (first, second))
    same(a.join(b), Trajectory.from_tokens(f"{first}, {second}", third_person=third_person))


@given(TOKENS, TOKENS)
def test_joining_does_not_depend_on_where_the_other_starts(first: str, second: str) -> None:
    path = Trajectory.from_tokens(f"{first}, {second}", third_person=True)
    cut = len(Trajectory.from_tokens(first))
    same(path[:cut].join(path[cut - 1 :]), path)


@given(TOKENS, TOKENS)
def test_joining_leaves_poses_that_begin_there_as_they_are(first: str, second: str) -> None:
    path = Trajectory.from_tokens(f"{first}, {second}")
    cut = len(Trajectory.from_tokens(first))
    assert (path[:cut].join(path[cut - 1 :]).c2w == path.c2w).all()


def test_joining_keeps_intrinsics_and_notes() -> None:
    wide = Trajectory(np.tile(np.eye(4), (2, 1, 1)), np.tile(np.eye(3), (2, 1, 1)), np.zeros(2), ("wide",))
    joined = Trajectory.from_tokens("w-1.5").join(wide)
    assert (joined.intrinsics[-1] == np.eye(3)).all()
    assert joined.intrinsics[0, 0, 0] == pytest.approx(0.505050505)
    assert len(joined.notes) == 2


@given(TOKENS, st.booleans())
def test_json_round_trip(tokens: str, third_person: bool) -> None:
    path = Trajectory.from_tokens(tokens, third_person=third_person)
    same(Trajectory.from_json(json.loads(json.dumps(path.to_json()))), path)


def test_json_holds_labels_only_where_the_poses_do_not_imply_them() -> None:
    path = Trajectory.from_tokens("w-3")
    assert all("label" not in pose for pose in path.to_json().values())
    assert [pose["label"] for pose in path.with_labels([3, 2, 1, 0]).to_json().values()] == [3, 2, 1, 0]
    assert path.to_json()["0"]["K"][0][0] == pytest.approx(969.6969696969696)


def test_require_chunks() -> None:
    path = Trajectory.from_tokens("w-12")
    note = "The path has 13 latents; the first 12 (3 chunks of 4) are used and the last 1 left out."
    assert require(path, None) == require(path, 0) == require(path, 3) == (12, (note,))
    note = "The path has 13 latents; the first 4 (1 chunk of 4) are used and the last 9 left out."
    assert require(path, 1) == (4, (note,))
    whole = Trajectory.from_tokens("w-15")
    assert whole.require_chunks(4) is whole


def require(path: Trajectory, n: int | None) -> tuple[int, tuple[str, ...]]:
    prefix = path.require_chunks(n)
    assert (prefix.c2w == path.c2w[: len(prefix)]).all()
    return len(prefix), prefix.notes


def test_a_path_too_short_is_refused_with_both_counts() -> None:
    with pytest.raises(InputError) as error:
        Trajectory.from_tokens("w-12").require_chunks(5)
    assert str(error.value) == (
        "The path has 13 latents, enough for 3 chunks of 4, but 5 chunks were asked for: lengthen the path by "
        "7 latents or ask for fewer chunks."
    )
    with pytest.raises(InputError) as error:
        Trajectory.from_tokens("w-2").require_chunks()
    assert str(error.value) == ("The path has 3 latents, but one chunk takes 4: lengthen the path by 1 latent or more.")
    with pytest.raises(InputError, match=r"at least 0 .*, got -1"):
        Trajectory.from_tokens("w-12").require_chunks(-1)


def test_load_reads_tokens_json_text_and_files(tmp_path: Path) -> None:
    path = Trajectory.from_tokens("w-3, left-4")
    text = json.dumps(path.to_json())
    file = tmp_path / "walk.JSON"
    file.write_text("\ufeff" + text, encoding="utf-8")
    for source in (" w-3, left-4 ", f"\n{text}", str(file)):
        same(Trajectory.load(source), path)


def test_load_passes_speeds_and_third_person_on() -> None:
    path = Trajectory.load("w+left-1", Speeds(move=1.0, turn_deg=10), third_person=True)
    assert path.c2w[1, 2, 3] == pytest.approx(math.cos(math.radians(10)))
    assert path.labels[1] == label("none", "left")
    text = json.dumps(Trajectory.from_tokens("w+left-1").to_json())
    assert Trajectory.load(text, third_person=True).labels[1] == label("none", "left")


def test_moved_to_keeps_the_motion() -> None:
    path = Trajectory.from_tokens("w-2, left-3, d+up-2")
    pose = Trajectory.from_tokens("right-5, w-3").c2w[-1]
    moved = path.moved_to(pose)
    np.testing.assert_allclose(moved.c2w[0], pose, atol=1e-12)
    np.testing.assert_allclose(np.linalg.inv(moved.c2w[0]) @ moved.c2w, path.c2w, atol=1e-12)
    assert (moved.labels == path.labels).all()
