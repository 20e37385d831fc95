"""Paths at DreamX-World's pace: picture by picture, the first step a quarter."""

from __future__ import annotations

import numpy as np
import pytest

from hyworld.camera import Speeds, Trajectory
from hyworld.camera.keys import parse_keys, trajectory_from_keys
from hyworld.camera.poses import integrate
from hyworld.camera.recover import in_words, tokens_of
from hyworld.camera.shares import runs_of
from hyworld.camera.tokens import DEFAULT_SPEEDS, DREAMX_SPEEDS, motion_of, paced
from hyworld.errors import InputError
from hyworld.live.path import cameras_onwards

PICTURE = Speeds(move=0.075, turn_deg=1.5)


def test_latents_see_every_fourth_picture_from_the_first_on():
    path = Trajectory.from_tokens("w+left-3, up-2", DREAMX_SPEEDS)
    pictures = integrate([motion_of(["w", "left"], PICTURE)] * 9 + [motion_of(["up"], PICTURE)] * 8)
    assert np.allclose(path.c2w, pictures[[0, 1, 5, 9, 13, 17]], atol=1e-12)


def test_a_path_that_goes_on_has_a_whole_first_step():
    start, then = (Trajectory.from_tokens(text, DREAMX_SPEEDS) for text in ("w-3", "d-2"))
    whole = Trajectory.from_tokens("w-3, d-2", DREAMX_SPEEDS)
    assert np.allclose(start.join(then).c2w, whole.c2w, atol=1e-12)
    assert np.allclose(start[-1:].join(then)[1:].c2w, whole.c2w[4:], atol=1e-12)
    joined = start.join(then)
    assert np.allclose(start.join(joined).c2w, Trajectory.from_tokens("w-6, d-2", DREAMX_SPEEDS).c2w, atol=1e-12)


def test_moved_paths_go_on_as_well():
    then = Trajectory.from_tokens("w-2", DREAMX_SPEEDS)
    pose = integrate([motion_of(["right"])])[1]
    start = Trajectory.from_tokens("w-1", DREAMX_SPEEDS)
    assert np.allclose(start.join(then.moved_to(pose)).c2w, start.join(then).c2w, atol=1e-12)


def test_live_walking_walks_the_same_path():
    path = Trajectory.from_tokens("w-2, w+right-3", DREAMX_SPEEDS)
    motions = [motion_of(["w"], DREAMX_SPEEDS)] * 2 + [motion_of(["w", "right"], DREAMX_SPEEDS)] * 3
    first = cameras_onwards(None, motions[:2], DREAMX_SPEEDS)
    second = cameras_onwards(first, motions[2:], DREAMX_SPEEDS)
    assert np.allclose(np.concatenate((first.c2w, second.c2w)), path.c2w, atol=1e-12)


def test_key_presses_walk_it_too():
    held = trajectory_from_keys(parse_keys("W*2, idle, W+→*2"), DREAMX_SPEEDS)
    assert held.c2w[1, 2, 3] == pytest.approx(0.075)
    assert held.c2w[2, 2, 3] == pytest.approx(0.375)
    assert np.array_equal(held.c2w[2], held.c2w[3])


def test_its_chunks_have_three_latents():
    path = Trajectory.from_tokens("w-9", DREAMX_SPEEDS)
    assert path.chunks == 3
    assert len(path.require_chunks()) == 9
    assert Trajectory.from_tokens("w-9").chunks == 2


def test_the_keys_of_its_poses_are_found_again():
    for text in ("w-4, w+left-2", "up-1, d-3"):
        assert tokens_of(Trajectory.from_tokens(text, DREAMX_SPEEDS).c2w) == text
    assert in_words(trajectory_from_keys(parse_keys("W, idle*2"), DREAMX_SPEEDS).c2w) == "W*1, idle*2"
    assert tokens_of(Trajectory.from_tokens("w-4").c2w) == "w-4"


def test_speeds_are_shares_of_the_models_own():
    assert paced(DREAMX_SPEEDS) == DREAMX_SPEEDS
    assert paced(DREAMX_SPEEDS, 0.04, 6.0).move == pytest.approx(0.15)
    assert paced(DREAMX_SPEEDS, 0.04, 6.0).turn_deg == pytest.approx(12)
    assert paced(DEFAULT_SPEEDS, 0.1, 2.0) == Speeds(move=0.1, turn_deg=2.0)


def test_actions_in_words():
    assert runs_of(["w", " ", "LW"], [1, 1, 2], 9) == [(("w",), 2), ((), 2), (("w", "right"), 5)]
    # As its own program does: at least one picture for each, but none beyond the end; opposite keys cancel out.
    assert runs_of(["w", "s"], [1, 999], 9) == [(("w",), 1), (("s",), 8)]
    assert runs_of([*"wasdwasd"], [1] * 8, 6) == [((key,), 1) for key in "wasdwa"]
    assert runs_of(["ik", "j l w w"], [1, 1], 2) == [((), 1), (("w",), 1)]
    for words, shares, said in (
        (["wx"], [1], "has letters that are no keys"),
        (["w", "s"], [1], "a share above 0 for each"),
        (["w"], [0], "a share above 0 for each"),
    ):
        with pytest.raises(InputError, match=said):
            runs_of(words, shares, 9)


def test_action_words_in_json(tmp_path):
    text = '{"action_seq": ["w", "wj"], "action_speed_list": [4, 6], "num_output_frames": 18, "caption": "a street"}'
    (tmp_path / "walk.json").write_text(text)
    want = Trajectory.from_actions(["w", "wj"], [4, 6], 69)
    for source in (text, str(tmp_path / "walk.json")):
        read = Trajectory.load(source)
        assert np.array_equal(read.c2w, want.c2w)
        assert np.array_equal(read.intrinsics, want.intrinsics)
    assert len(Trajectory.load('{"action_seq": ["w"], "action_speed_list": [1]}')) == 21


def test_action_words_go_on_with_a_whole_first_step():
    start = Trajectory.from_tokens("w-3", DREAMX_SPEEDS)
    then = Trajectory.load('{"action_seq": ["wl", "i"], "action_speed_list": [9, 4], "num_output_frames": 4}')
    assert np.allclose(start.join(then).c2w, Trajectory.from_tokens("w-3, wl-2, i-1", DREAMX_SPEEDS).c2w, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"action_seq": ["x"], "action_speed_list": [1]}', 'The camera path: The action "x" has letters'),
        ('{"action_seq": "w", "action_speed_list": [1]}', "a list of words"),
        ('{"action_seq": ["w"]}', "a list of numbers"),
        ('{"action_seq": ["w"], "action_speed_list": [1], "num_output_frames": "9"}', "a whole number of latents"),
    ],
)
def test_action_words_that_cannot_be_read(text: str, said: str):
    with pytest.raises(InputError, match=said):
        Trajectory.load(text)
