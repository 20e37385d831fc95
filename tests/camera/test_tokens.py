"""The pose-token grammar: what is read, what is refused, and in which words."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyworld import InputError
from hyworld.camera import KEYS, Motion, Speeds, parse_tokens

MOVE, TURN = 0.08, math.radians(3)
COUNTS = st.integers(1, 30)


def motions(text: str, speeds: Speeds | None = None) -> list[Motion]:
    return parse_tokens(text, *([speeds] if speeds else [])).motions


@pytest.mark.parametrize(
    ("key", "motion"),
    [
        ("w", Motion(forward=MOVE)),
        ("s", Motion(forward=-MOVE)),
        ("a", Motion(right=-MOVE)),
        ("d", Motion(right=MOVE)),
        ("up", Motion(pitch=TURN)),
        ("down", Motion(pitch=-TURN)),
        ("left", Motion(yaw=-TURN)),
        ("right", Motion(yaw=TURN)),
        ("orbit_left", Motion(orbit=-TURN)),
        ("orbit_right", Motion(orbit=TURN)),
    ],
)
def test_each_key_moves_its_axis(key: str, motion: Motion) -> None:
    assert motions(f"{key}-2") == [motion, motion]


def test_every_key_is_tested_above() -> None:
    assert len(KEYS) == 10


def test_keys_combine() -> None:
    assert motions("w+d+up+right-1") == [Motion(forward=MOVE, right=MOVE, pitch=TURN, yaw=TURN)]
    assert motions("left+orbit_left-1") == [Motion(yaw=-TURN, orbit=-TURN)]


@pytest.mark.parametrize(
    ("word", "keys"),
    [("i", "up"), ("k", "down"), ("j", "left"), ("L", "right"), ("wjd", "w+left+d"), ("up+wl", "up+w+right")],
)
def test_dreamx_letters_are_keys_too(word: str, keys: str) -> None:
    assert motions(f"{word}-2") == motions(f"{keys}-2")


def test_speeds_scale_the_motion() -> None:
    fast = Speeds(move=0.5, turn_deg=10)
    assert motions("w+left-1", fast) == [Motion(forward=0.5, yaw=-math.radians(10))]


@pytest.mark.parametrize(
    "text", ["w-3,right-2", " W - 3 ,\n Right-2 ", "w-3,,right-2,", ",w-3,right-2,,", "w–3, right−2"]
)
def test_case_white_space_and_stray_commas_do_not_matter(text: str) -> None:
    parsed = parse_tokens(text)
    assert parsed.motions == [Motion(forward=MOVE)] * 3 + [Motion(yaw=TURN)] * 2
    assert parsed.notes == ()


@given(st.lists(st.tuples(st.sampled_from(sorted(KEYS)), COUNTS), min_size=1, max_size=8))
def test_counts_add_up(tokens: list[tuple[str, int]]) -> None:
    parsed = parse_tokens(", ".join(f"{key}-{count}" for key, count in tokens))
    assert len(parsed.motions) == sum(count for _, count in tokens)
    assert parsed.notes == ()


def test_a_fraction_is_rounded_down_with_a_note() -> None:
    parsed = parse_tokens("d-1, w-2.5")
    assert parsed.motions == [Motion(right=MOVE), Motion(forward=MOVE), Motion(forward=MOVE)]
    assert parsed.notes == ('Token 2, "w-2.5", lasts 2 latents: counts are rounded down.',)


@pytest.mark.parametrize("count", ["0", "0.9"])
def test_less_than_a_latent_adds_nothing_but_a_note(count: str) -> None:
    parsed = parse_tokens(f"w-{count}, d-1")
    assert parsed.motions == [Motion(right=MOVE)]
    assert parsed.notes == (f'Token 1, "w-{count}", adds nothing: its count is below 1 latent.',)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("w-1, foo-3", 'Token 2 of the camera path, "foo-3", has the unknown key "foo"'),
        ("rigth-3", '"rigth" (did you mean "right"?)'),
        ("orbit left-3", '"orbit left" (did you mean "orbit_left"?)'),
        ("ww-3", 'has the key "w" twice'),
        ("wjl-3", 'has the opposite keys "left" and "right"'),
        ("forward-3", '"forward" (did you mean "w"?)'),
        ("w+s-2", 'Token 1 of the camera path, "w+s-2", has the opposite keys "w" and "s"'),
        ("d+w+a-2", 'has the opposite keys "d" and "a"'),
        ("left+right-2", 'has the opposite keys "left" and "right"'),
        ("up+down-2", 'has the opposite keys "up" and "down"'),
        ("orbit_left+orbit_right-2", 'has the opposite keys "orbit_left" and "orbit_right"'),
        ("left+orbit_right-2", 'has the opposite keys "left" and "orbit_right"'),
        ("w+w-2", 'has the key "w" twice'),
        ("w+-2", 'has a "+" with no key beside it'),
        ("w", 'Token 1 of the camera path, "w", lacks a count'),
        ("w+d", "lacks a count"),
        ("w-", "lacks a count"),
        ("-3", "lacks a key"),
        ("w--3", "has the negative count -3"),
        ("w-nan", 'has the count "nan", which is not a finite number'),
        ("w-inf", 'has the count "inf", which is not a finite number'),
        ("w-1e999", "which is not a finite number"),
        ("w-x", 'has the count "x", which is not a number'),
        ("w-3 d-2", 'has the unknown key "w-3 d"'),
        ("w-3\nd-2", 'has the unknown key "w-3 d"'),
        ("w-100001", "has a count above 100000"),
        ("", "The camera path is empty"),
        (" , ,", "The camera path is empty"),
    ],
)
def test_what_is_refused_and_how(text: str, expected: str) -> None:
    with pytest.raises(InputError) as error:
        parse_tokens(text)
    message = str(error.value)
    assert expected in message
    assert "w, s, a, d, up, down, left, right, orbit_left, orbit_right" in message
    assert '"w+right-4"' in message
    assert message.endswith(".")
    assert "\n" not in message


def test_many_long_tokens_are_refused_before_they_fill_memory() -> None:
    with pytest.raises(InputError, match=r"Token 2 .* longer than 100000 latents"):
        parse_tokens("w-60000, s-60000, w-60000")


@pytest.mark.parametrize("token", ["{}", "{}-3", "w-{}", "w--{}"])
def test_a_long_token_is_shown_shortened(token: str) -> None:
    with pytest.raises(InputError) as error:
        parse_tokens(token.format("x" * 10_000))
    assert len(str(error.value)) < 400


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parsed = parse_tokens(text)
    except InputError:
        return
    assert len(parsed.motions) <= 100_000


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [
        ({"move": -1.0}, "speed move must be a number of at least 0, got -1.0"),
        ({"turn_deg": math.nan}, "speed turn_deg must be a number of at least 0"),
        ({"orbit_radius": math.inf}, "speed orbit_radius must be a number of at least 0"),
        ({"move": 1e300}, "speed move must be at most 1000 units, got 1e"),
        ({"turn_deg": 60.0}, "speed turn_deg must be at most 45 degrees per latent, got 60.0"),
    ],
)
def test_speeds_are_checked(speeds: dict[str, float], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        Speeds(**speeds)
