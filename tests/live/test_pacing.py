"""When the next chunk is asked for."""

from __future__ import annotations

import random

import pytest

from hyworld.camera.tokens import KEYS
from hyworld.live.controls import Controls, Held
from hyworld.live.pacing import ALONE, LEAD, YOUNG, Pacing


def played(computing: float, delivery: float = 0.0, chunks: int = 30, receipts: bool = True) -> tuple[list, list]:
    """A screen that plays chunks of 1 s: seconds it stood still before each chunk; seconds from asking to playing."""
    pacing, now, ends = Pacing(), 0.0, 0.0
    gaps, delays, asked = [], [], 0.0
    for n in range(chunks):
        asked = max(now, pacing.due(now))
        now = asked + computing
        pacing.made(n, 1.0, asked, now)
        arrives = now + delivery
        starts = max(arrives, ends)
        gaps.append(starts - ends)
        delays.append(starts - asked)
        ends = starts + 1.0
        if receipts:
            pacing.playing(n, 1.0, starts)  # heard in time for the next
            now = max(now, starts)
    return gaps[1:], delays[1:]


@pytest.mark.parametrize("receipts", [True, False])
@pytest.mark.parametrize("computing", [0.05, 0.4, 0.85])
def test_the_screen_never_stands_still_and_no_chunk_is_asked_for_early(computing: float, receipts: bool):
    gaps, delays = played(computing, delivery=0.05, receipts=receipts)
    assert max(gaps) == 0
    assert max(delays[YOUNG:]) <= computing + LEAD + 0.06


def test_the_first_chunks_may_each_take_longer_than_those_before():
    pacing, ends = Pacing(), 0.0
    for n, computing in enumerate((0.3, 0.37, 0.46, 0.57, 0.7)):
        made = pacing.due(ends) + computing
        assert made <= ends or not n, "the screen stood still"
        pacing.made(n, 1.0, made - computing, made)
        ends = max(ends, made) + 1.0
        pacing.playing(n, 1.0, ends - 1.0)


def test_who_cannot_keep_up_asks_at_once():
    gaps, delays = played(1.5)
    assert gaps == pytest.approx([0.5] * 29)
    assert delays == pytest.approx([1.5] * 29)


def test_a_long_way_to_the_screen_is_learned():
    gaps, _ = played(0.4, delivery=0.4)
    assert max(gaps) < 0.06  # a frame


def test_a_hiccup_on_the_way_is_learned_and_forgotten():
    pacing, ends, leads = Pacing(), 0.0, []
    for n in range(40):
        asked = pacing.due(ends)
        leads.append(ends - asked)
        pacing.made(n, 1.0, asked, asked + 0.4)
        starts = max(ends, asked + 0.4 + (0.5 if n == 5 else 0.02))
        ends = starts + 1.0
        pacing.playing(n, 1.0, starts)
    assert leads[5] == pytest.approx(0.4 + LEAD)
    assert leads[6] == pytest.approx(0.4 + 0.5)
    assert leads[-1] < 0.4 + LEAD + 0.1


def test_a_chunk_computed_late_does_not_make_the_way_long():
    pacing, ends = Pacing(), 0.0
    for n in range(8):
        asked = pacing.due(ends)
        made = asked + (1.2 if n == 5 else 0.4)
        pacing.made(n, 1.0, asked, made)
        starts = max(ends, made + 0.02)
        ends = starts + 1.0
        pacing.playing(n, 1.0, starts)
    assert ends - pacing.due(ends) == pytest.approx(0.4 * 1.25 + LEAD)


def test_a_chunk_that_took_long_once_does_not_make_the_others_early():
    """Kernels are built during the first chunk."""
    pacing = Pacing()
    pacing.made(0, 1.0, 0.0, 30.0)
    assert pacing.due(30.0) == pytest.approx(31.0 - 1.0 - LEAD)
    for n, made in ((1, 31.0), (2, 32.0), (3, 33.0)):
        pacing.made(n, 1.0, made - 0.4, made)
    assert pacing.due(33.0) == pytest.approx(34.0 - 0.5 * ALONE - LEAD)


def test_growing_chunks_are_asked_for_in_time():
    pacing, asked, ends = Pacing(), 0.0, None
    for n in range(12):
        made = asked + 0.2 + 0.05 * n
        assert ends is None or made <= ends
        pacing.made(n, 1.0, asked, made)
        ends = made + 1.0 if ends is None else ends + 1.0
        asked = pacing.due(made)


def test_chunks_on_their_way_are_not_forgotten():
    pacing = Pacing()
    pacing.made(0, 1.0, 0.0, 0.4)
    pacing.made(1, 1.0, 0.05, 0.45)
    pacing.playing(0, 1.0, 0.46)  # written before chunk 1 arrived
    assert pacing.due(0.5) == pytest.approx(2.46 - 0.4 * ALONE - LEAD)
    pacing.playing(1, 1.0, 1.46)
    assert pacing.due(1.5) == pytest.approx(2.46 - 0.4 * ALONE - LEAD)


def test_a_screen_cannot_claim_more_than_was_made():
    pacing = Pacing()
    pacing.made(0, 1.0, 0.0, 0.4)
    pacing.playing(0, 1e9, 0.4)
    assert pacing.due(0.5) == pytest.approx(1.4 - 0.4 * ALONE - LEAD)


def test_receipts_of_another_line_change_nothing():
    pacing = Pacing()
    pacing.made(7, 1.0, 0.0, 0.4)
    pacing.restart()
    assert pacing.due(0.5) == 0.5
    pacing.made(3, 1.0, 1.0, 1.4)
    due = pacing.due(1.5)
    pacing.playing(7, 1.0, 1.6)
    assert pacing.due(1.7) == due


@pytest.mark.parametrize("computing", [0.1, 0.4, 0.8])
def test_a_key_is_seen_after_a_chunks_play_its_computing_and_the_lead_at_most(computing: float):
    """A minute of keys pressed at any time, on a screen that has every chunk as soon as it is made."""
    dice = random.Random(3)
    presses = sorted(dice.uniform(2 + YOUNG, 60) for _ in range(60))  # once the world is not young
    controls, pacing, now = Controls(), Pacing(), 0.0
    controls.hold(Held(0.0, ("w",)))
    seen: dict[float, float] = {}
    ends = 0.0
    for n in range(70):
        now = max(now, pacing.due(now))
        while presses and presses[0] <= now:
            controls.hold(Held(presses.pop(0), ("w", dice.choice([*KEYS][4:8]))))
        inputs = controls.take(now)
        assert inputs is not None
        pacing.made(n, 1.0, now, now + computing)
        now += computing
        starts = max(now, ends)
        pacing.playing(n, 1.0, starts)
        ends = starts + 1.0
        for latent, given in enumerate(inputs):
            seen.setdefault(given.since, starts + latent / 4)
    delays = sorted(at - since for since, at in seen.items())
    assert len(delays) > 40
    assert delays[-1] <= 1.0 + computing + LEAD + 1e-6
    assert delays[0] >= computing


def test_a_client_that_plays_nothing_never_waits() -> None:
    pacing = Pacing()
    pacing.made(0, 1.0, asked=0.0, now=0.3)
    assert pacing.due(0.4) > 0.4
    pacing.playing(0, 0.0, now=0.4)
    assert pacing.due(0.4) <= 0.4
    pacing.made(1, 1.0, asked=0.4, now=0.7)
    assert pacing.due(0.7) <= 0.7
    pacing.playing(1, 1.0, now=0.75)  # a screen takes over
    assert pacing.due(0.8) > 0.8
