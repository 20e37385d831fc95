"""Key presses per latent: the notation, the path it walks, and the labels that replace those of a path."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyworld import InputError, Trajectory
from hyworld.camera import KEYS, Speeds, label_name
from hyworld.camera.keys import Presses, parse_keys, relabel, trajectory_from_keys
from hyworld.camera.recover import in_words, tokens_of

DRIVING = [key for key in KEYS if not key.startswith("orbit")]


def test_the_notation():
    assert parse_keys("W*2, W+→*1\nidle*2; d") == [("w",), ("w",), ("w", "right"), (), (), ("d",)]
    assert parse_keys(" w + UP * 1 ,,") == [("w", "up")]


@given(st.lists(st.tuples(st.sampled_from(DRIVING), st.integers(1, 5)), min_size=1, max_size=6))
def test_keys_walk_the_same_path_as_tokens(entries: list[tuple[str, int]]):
    by_keys = trajectory_from_keys(parse_keys(", ".join(f"{key}*{count}" for key, count in entries)))
    by_tokens = Trajectory.from_tokens(", ".join(f"{key}-{count}" for key, count in entries))
    assert np.array_equal(by_keys.c2w, by_tokens.c2w)
    assert np.array_equal(by_keys.labels, by_tokens.labels)


def test_idle_stays_where_it_is():
    path = trajectory_from_keys(parse_keys("w*2, idle*3"))
    assert [label_name(int(label)) for label in path.labels] == ["idle", "forward", "forward", *["idle"] * 3]
    assert np.array_equal(path.c2w[2], path.c2w[5])


def test_labels_replace_those_of_a_path_and_leave_its_poses():
    path = Trajectory.from_tokens("w-3")
    told = relabel(path, parse_keys("a*2, idle"))
    assert [label_name(int(label)) for label in told.labels] == ["idle", "left", "left", "idle"]
    assert np.array_equal(told.c2w, path.c2w)


def test_labels_must_be_as_many_as_the_path_takes():
    with pytest.raises(InputError, match="last 2 latents, but the path of 4 latents takes 3"):
        relabel(Trajectory.from_tokens("w-3"), parse_keys("w*2"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no key presses"),
        ("w*", "not a whole number"),
        ("w*-1", "not a whole number"),
        ("w*0", "between 1"),
        ("w*2.5", "not a whole number"),
        ("w+*2", "lacks a key"),
        ("*3", "lacks a key"),
        ("jump*3", 'unknown key "jump"'),
        ("w, w+s*2", 'Entry 2 .* opposite keys "w" and "s"'),
        ("w*100000, w*5", "longer than"),
    ],
)
def test_malformed_entries_are_named(text: str, message: str):
    with pytest.raises(InputError, match=message):
        parse_keys(text)


@given(st.lists(st.sampled_from([(), ("w",), ("w", "right"), ("orbit_left",), ("up", "d")]), min_size=1, max_size=30))
def test_presses_read_as_text_of_their_keys(sequence: list[tuple[str, ...]]) -> None:
    presses = Presses(tuple(sequence))
    assert parse_keys(str(presses)) == sequence
    assert str(Presses((("w",), ("w",), ()))) == "W*2, idle*1"


@pytest.mark.parametrize("keys", ["W*2, idle*1, W+RIGHT*3, idle*2", "S+D*1, idle*1", "idle*4"])
def test_a_path_that_stands_still_now_and_then_reads_as_key_presses(keys: str) -> None:
    path = trajectory_from_keys(parse_keys(keys))
    assert in_words(path.c2w) == keys
    assert tokens_of(path.c2w) == ""
    assert str(path).endswith(keys)


def test_a_path_that_always_moves_reads_as_tokens() -> None:
    assert in_words(Trajectory.from_tokens("w-3, d+right-2").c2w) == "w-3, d+right-2"
    assert in_words(Trajectory.from_tokens("w-3", Speeds(move=0.05)).c2w) == ""
