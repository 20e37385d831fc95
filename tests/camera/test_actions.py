"""The 81 labels: names, keys, and the rule that reads them from poses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyworld import InputError, Trajectory
from hyworld.camera import MOVES, NUM_LABELS, TURNS, Motion, integrate, label, label_from_keys, label_name, labels

KEY_OF_MOVE = {"forward": "w", "backward": "s", "right": "d", "left": "a"}
COMBINATIONS = [(move, turn) for move in MOVES for turn in TURNS]


def keys_for(move: str, turn: str) -> list[str]:
    keys = [KEY_OF_MOVE[part] for part in move.split("+") if part != "none"]
    return keys + [part for part in turn.split("+") if part != "none"]


@pytest.mark.parametrize(("move", "turn"), COMBINATIONS)
def test_labels_follow_the_keys(move: str, turn: str) -> None:
    keys = keys_for(move, turn)
    expected = 9 * MOVES.index(move) + TURNS.index(turn)
    assert label(move, turn) == expected
    assert label_from_keys(keys) == expected
    if keys:
        path = Trajectory.from_tokens(f"{'+'.join(keys)}-5")
        assert path.labels.tolist() == [0] + [expected] * 5


def test_every_label_has_its_own_name() -> None:
    names = [label_name(i) for i in range(NUM_LABELS)]
    assert len(set(names)) == NUM_LABELS == 81
    assert names[0] == "idle"
    assert label_name(label("forward", "none")) == "forward"
    assert label_name(label("none", "right+up")) == "turn right+up"
    assert label_name(label("forward+right", "left")) == "forward+right, turn left"


def test_a_standing_camera_is_idle() -> None:
    assert labels(np.tile(np.eye(4), (3, 1, 1))).tolist() == [0, 0, 0]


def test_one_pose_has_label_zero() -> None:
    assert labels(np.eye(4)[None]).tolist() == [0]


@pytest.mark.parametrize(("step", "moves"), [(0.9e-4, False), (1.1e-4, True)])
def test_least_move(step: float, moves: bool) -> None:
    assert labels(integrate([Motion(forward=step)])).tolist() == [0, 9 * moves]


@pytest.mark.parametrize(("degrees", "turns"), [(0.049, False), (0.051, True)])
def test_least_turn(degrees: float, turns: bool) -> None:
    assert labels(integrate([Motion(yaw=math.radians(degrees))])).tolist() == [0, int(turns)]
    assert labels(integrate([Motion(pitch=-math.radians(degrees))])).tolist() == [0, 4 * turns]


@pytest.mark.parametrize(
    ("degrees_off_forward", "move"), [(29, "forward"), (31, "forward+right"), (59, "forward+right"), (61, "right")]
)
def test_moves_are_within_60_degrees_of_an_axis(degrees_off_forward: float, move: str) -> None:
    angle = math.radians(degrees_off_forward)
    path = integrate([Motion(forward=math.cos(angle), right=math.sin(angle))])
    assert labels(path).tolist() == [0, label(move, "none")]


def test_an_orbit_is_a_turn_in_third_person_and_a_move_otherwise() -> None:
    orbit = integrate([Motion(orbit=math.radians(3))])
    assert labels(orbit, third_person=True).tolist() == [0, label("none", "right")]
    assert labels(orbit).tolist() == [0, label("left", "right")]


def test_third_person_keeps_moves_that_do_not_turn() -> None:
    path = integrate([Motion(forward=1.0), Motion(forward=1.0, pitch=0.1), Motion(right=-1.0)])
    assert labels(path, third_person=True).tolist() == [0, 9, label("none", "up"), label("left", "none")]


@given(
    yaw=st.floats(-1.5, 1.5),
    pitch=st.floats(-1.5, 1.5),
    start=st.tuples(st.floats(-3, 3), st.floats(-1.5, 1.5), st.floats(-9, 9)),
)
def test_turns_are_read_from_any_start(yaw: float, pitch: float, start: tuple[float, float, float]) -> None:
    before = Motion(yaw=start[0], pitch=start[1], forward=start[2])
    path = integrate([before, Motion(yaw=yaw, pitch=pitch)])

    def side(angle: float, names: tuple[str, str]) -> list[str]:
        degrees = math.degrees(angle)
        return [names[0]] if degrees > 0.05 else [names[1]] if degrees < -0.05 else []

    turn = "+".join(side(yaw, ("right", "left")) + side(pitch, ("up", "down"))) or "none"
    if min(abs(abs(math.degrees(angle)) - 0.05) for angle in (yaw, pitch)) > 1e-6:
        assert labels(path)[2] == label("none", turn)


def test_a_quarter_turn_has_no_pitch() -> None:
    for sign, turn in ((1, "right"), (-1, "left")):
        path = integrate([Motion(yaw=0.3, pitch=0.2), *[Motion(yaw=sign * math.pi / 2)] * 8])
        assert labels(path)[2:].tolist() == [label("none", turn)] * 8


@pytest.mark.parametrize(("move", "turn", "expected"), [("up", "none", 'no move "up"'), ("none", "w", 'no turn "w"')])
def test_unknown_names_are_refused(move: str, turn: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        label(move, turn)


@pytest.mark.parametrize("number", [-1, 81])
def test_label_name_needs_a_label(number: int) -> None:
    with pytest.raises(InputError, match=f"0 to 80, got {number}"):
        label_name(number)


def test_label_from_keys() -> None:
    assert label_from_keys([]) == 0
    assert label_from_keys([" W ", "orbit_left"]) == label("forward", "left")
    with pytest.raises(InputError, match=r'"w\+s" has the opposite keys "w" and "s"'):
        label_from_keys(["w", "s"])
    with pytest.raises(InputError, match='unknown key "jump"'):
        label_from_keys(["jump"])
