"""Keys and sticks over time → what each latent is given."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyworld import InputError
from hyworld.camera.tokens import KEYS, Motion, Speeds, check_keys, compatible, motion_of
from hyworld.live.controls import Clock, Controls, Held, LatentInput, motion_of_held

TURN = math.radians(3.0)


def walking(*keys: str, since: float = 0.0) -> Controls:
    """Controls with these keys held, of which a chunk was taken at 10 seconds."""
    controls = Controls()
    controls.hold(Held(since, keys))
    assert controls.take(10.0) is not None
    return controls


def keys(inputs: tuple[LatentInput, ...] | None) -> list[str] | None:
    return inputs and ["+".join(given.keys) for given in inputs]


def test_with_nothing_held_there_is_nothing_to_walk():
    controls = Controls()
    assert controls.idle
    assert controls.take(1.0) is None
    assert controls.take(2.0, goes_on=True) == (LatentInput(Motion()),) * 4


def test_a_press_after_standing_still_acts_on_all_latents():
    controls = Controls()
    controls.hold(Held(5.0, ("w",)))
    assert not controls.idle
    assert controls.take(5.06) == (LatentInput(motion_of(["w"]), ("w",), 5.0),) * 4


def test_a_tap_after_standing_still_counts_too():
    controls = Controls()
    controls.hold(Held(5.0, ("left",)))
    controls.hold(Held(5.02))
    assert not controls.idle
    assert keys(controls.take(5.06)) == ["left"] * 4
    assert controls.take(6.06) is None


def test_what_was_held_decides_latent_by_latent():
    controls = walking("w")
    controls.hold(Held(10.3, ("w", "right")))
    controls.hold(Held(10.6, ("right",)))
    inputs = controls.take(11.0)
    assert keys(inputs) == ["w", "w+right", "right", "right"]
    assert [given.since for given in inputs] == [0.0, 10.3, 10.6, 10.6]
    assert inputs[1].motion == Motion(forward=0.08, yaw=TURN)


def test_a_tap_counts_in_the_part_in_which_it_was_pressed():
    controls = walking("w")
    controls.hold(Held(10.3, ("w", "left")))
    controls.hold(Held(10.35, ("w",)))
    controls.hold(Held(10.8, ("w", "up")))
    controls.hold(Held(10.85, ("w",)))
    assert keys(controls.take(11.0)) == ["w", "w+left", "w", "w+up"]


def test_what_was_let_go_is_held_no_longer():
    controls = walking("w")
    controls.hold(Held(10.4))
    assert keys(controls.take(11.0)) == ["w", "", "", ""]
    assert controls.take(12.0) is None
    controls.hold(Held(13.0, ("s",)))
    assert keys(controls.take(13.1)) == ["s"] * 4


def test_with_time_going_on_a_press_does_not_act_before_it_came():
    controls = Controls()
    controls.take(10.0, goes_on=True)
    controls.hold(Held(10.6, ("w",)))
    assert keys(controls.take(11.0, goes_on=True)) == ["", "", "w", "w"]


def test_the_key_pressed_last_wins_over_its_opposite():
    controls = walking("w")
    controls.hold(Held(10.1, ("w", "s")))
    controls.hold(Held(10.6, ("w",)))
    assert keys(controls.take(11.0)) == ["s", "s", "w", "w"]


def test_a_tapped_key_does_not_win_over_its_opposite_that_is_down():
    controls = walking("left")
    controls.hold(Held(10.3, ("left", "orbit_right")))
    controls.hold(Held(10.35, ("left",)))
    assert keys(controls.take(11.0)) == ["left"] * 4


def test_what_comes_late_or_from_beyond_the_window_is_not_lost():
    controls = walking("w")
    controls.hold(Held(9.9, ("w", "up")))  # pressed before the last chunk was taken, heard after
    controls.hold(Held(9.95, ("w",)))
    controls.hold(Held(11.5, ("w", "d")))
    controls.hold(Held(11.6, ("w",)))
    assert keys(controls.take(11.0)) == ["w+up", "w", "w", "w+d"]


def test_a_stick_scales_the_speed_beyond_its_dead_zone():
    def moved(stick: tuple[float, float]) -> Motion:
        controls = Controls(Speeds(move=1.0, turn_deg=10.0))
        controls.hold(Held(0.0, move=stick))
        inputs = controls.take(1.0)
        return inputs[0].motion if inputs else Motion()

    assert moved((0.0, 0.1)) == Motion()
    assert moved((0.0, 0.55)) == Motion(forward=pytest.approx(0.5))
    assert moved((-1.0, 0.0)) == Motion(right=-1.0)
    corner = moved((1.0, 1.0))
    assert math.hypot(corner.forward, corner.right) == pytest.approx(1.0)


def test_a_turning_stick_turns_and_keys_add_up_to_full_speed_at_most():
    controls = Controls()
    controls.hold(Held(0.0, ("w", "right"), move=(0.0, 0.5), turn=(-0.55, 1.0)))
    motion = controls.take(1.0)[0].motion
    assert motion.forward == 0.08
    assert motion.pitch == pytest.approx(TURN * math.sin(math.atan2(1.0, 0.55)))
    assert 0 < motion.yaw < TURN


def test_a_flick_of_a_stick_counts_as_far_as_it_went():
    controls = walking("w")
    for at, x in ((10.3, 0.4), (10.32, 1.0), (10.34, 0.6), (10.36, 0.0)):
        controls.hold(Held(at, ("w",), turn=(x, 0.0)))
    assert [round(given.motion.yaw / TURN, 6) for given in controls.take(11.0)] == [0, 1, 0, 0]


def test_a_stick_let_go_within_a_part_does_not_linger():
    controls = Controls()
    controls.hold(Held(0.0, move=(0.0, 1.0)))
    controls.take(10.0)
    controls.hold(Held(10.3, move=(0.0, 0.5)))
    controls.hold(Held(10.32, move=(0.0, 0.0)))
    assert [given.motion.forward for given in controls.take(11.0)] == [0.08, 0, 0, 0]


def test_standing_forgets_presses_but_not_what_is_held():
    controls = walking("w")
    controls.hold(Held(10.1, ("w", "left")))
    controls.hold(Held(10.2, ("w",)))
    controls.stand()
    assert keys(controls.take(10.5)) == ["w"] * 4
    controls.hold(Held(10.6))
    controls.stand()
    assert controls.idle
    assert controls.take(11.0) is None


def test_a_change_of_nobodys_doing_has_no_time_stamp():
    controls = walking("w")
    controls.hold(Held(None), at=10.3)
    inputs = controls.take(11.0)
    assert keys(inputs) == ["w", "", "", ""]
    assert inputs[1].since is None


def test_a_flood_of_changes_takes_no_more_memory():
    controls = Controls()
    for n in range(5000):
        controls.hold(Held(n / 1000, ("w",) if n % 2 else ()))
    assert len(controls._changes) <= 1024
    assert keys(controls.take(5.0)) == ["w"] * 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"keys": ("x",)},
        {"keys": ("w", "w")},
        {"move": (0.0, 1.1)},
        {"turn": (float("nan"), 0.0)},
        {"at": float("inf")},
    ],
)
def test_what_nobody_can_hold_is_refused(wrong: dict):
    with pytest.raises(InputError):
        Held(**{"at": 0.0, **wrong})


HELD = st.lists(st.sampled_from(list(KEYS)), unique=True, max_size=5).map(tuple)
STICK = st.tuples(st.floats(-1, 1), st.floats(-1, 1))


@given(st.lists(st.tuples(st.floats(9, 12), HELD, STICK, STICK), max_size=12), st.integers(1, 4))
def test_whatever_is_held_a_chunk_can_be_walked(changes: list, latents: int):
    controls = walking("w")
    for at, down, move, turn in sorted(changes, key=lambda change: change[0]):
        controls.hold(Held(at, down, move, turn))
    inputs = controls.take(11.0, latents)
    if inputs is None:
        assert not changes[-1:] or controls.idle
        return
    assert len(inputs) == latents
    for given_ in inputs:
        check_keys(given_.keys)  # none opposed
        assert abs(given_.motion.forward) <= 0.08
        assert abs(given_.motion.yaw) <= TURN + 1e-12
    pressed = {key for _, down, _, _ in changes for key in down}
    assert {key for given_ in inputs for key in given_.keys} <= pressed | {"w"}


@given(HELD)
def test_every_tap_alone_is_seen(down: tuple[str, ...]):
    """Any keys pressed and let go at once, at any moment of a chunk, are in the next one."""
    controls = walking("w")
    controls.hold(Held(10.0))
    controls.hold(Held(10.6, down))
    controls.hold(Held(10.61))
    seen = [given_.keys for given_ in controls.take(11.0, goes_on=True)]
    assert seen == [(), (), compatible(down), ()]


@given(HELD)
def test_keys_alone_move_as_in_the_path_editor(down: tuple[str, ...]):
    assert motion_of_held(compatible(down), (0, 0), (0, 0), Speeds()) == motion_of(compatible(down), Speeds())


def test_a_senders_clock_is_told_from_ours_by_the_quickest_way():
    clock = Clock()
    assert clock.here(5.0, 105.3) == pytest.approx(105.3)
    assert clock.here(6.0, 106.1) == pytest.approx(106.1)  # 0.2 s quicker
    assert clock.here(7.0, 107.4) == pytest.approx(107.1)
    assert clock.here(None, 108.0) == 108.0


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 3)), min_size=1, max_size=20))
def test_nothing_is_held_before_it_was_heard(ways: list[tuple[float, float]]):
    clock, at, now = Clock(), 0.0, 50.0
    for gap, way in ways:
        at += gap
        now = max(now, 50.0 + at + way)
        assert clock.here(at, now) <= now + 1e-9


@pytest.mark.parametrize("again", [0.5, 400.0])
def test_another_senders_clock_is_a_new_one(again: float):
    """A page loaded again counts from 0; a walker who takes over may have been here for longer."""
    clock = Clock()
    clock.here(300.0, 1000.0)
    assert clock.here(again, 1010.0) == pytest.approx(1010.0)
    assert clock.here(again + 1, 1011.0) == pytest.approx(1011.0)


def test_a_computer_that_slept_has_a_new_clock():
    clock = Clock()
    clock.here(300.0, 1000.0)
    assert clock.here(301.0, 4601.0) == pytest.approx(4601.0)
