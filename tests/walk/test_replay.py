"""Going on from what two walks have in common, and frames of a world that was walked before."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hyworld import Trajectory
from hyworld.dit import WanDiT
from hyworld.vae import Wan22VAE
from hyworld.walk import Chunk, World

from .conftest import PARTS, PATH, SIZE, TEXT, walker_for

FIRST = torch.randn(1, 6, 1, *SIZE, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def walked(model: WanDiT, vae: Wan22VAE) -> list[Chunk]:
    walker = walker_for(model, vae)
    return list(walker.walk(walker.begin(TEXT, first_frame=FIRST, seed=5), PATH))


def test_a_world_is_decoded_again_to_the_frames_of_its_walk(model: WanDiT, vae: Wan22VAE, walked: list[Chunk]) -> None:
    world = walked[-1].world
    for first in (0, 3):
        again = list(walker_for(model, vae).replay(world, first))
        assert [chunk.index for chunk in again] == list(range(first, world.chunks))
        for chunk, before in zip(again, walked[first:], strict=True):
            assert torch.equal(chunk.frames, before.frames)
            assert chunk.world == before.world


@pytest.mark.parametrize("shared", [0, 1, 5])
def test_a_path_that_changed_goes_on_from_what_it_shares(
    model: WanDiT, vae: Wan22VAE, walked: list[Chunk], shared: int
) -> None:
    other = Trajectory.from_tokens("s-3, a-9")
    kept = walked[-1].world
    start = kept.at_chunk(0)
    parts = [*PARTS[:shared], *(kept.at_chunk(shared).onwards(other) if shared else other).split(4)]
    known = kept.shared_with(start, parts)
    assert known.chunks == shared

    walker = walker_for(model, vae)
    quick = [*walker.replay(known), *walker.walk(known, parts[shared:])]
    scratch = list(walker_for(model, vae).walk(start, parts))
    assert len(quick) == len(parts)
    for one, two in zip(quick, scratch, strict=True):
        assert torch.equal(one.frames, two.frames)
    assert quick[-1].world == scratch[-1].world


def test_nothing_else_than_the_path_may_differ(walked: list[Chunk]) -> None:
    kept = walked[-1].world
    start = kept.at_chunk(0)
    assert kept.shared_with(start, PARTS).chunks == len(PARTS)
    others: list[World] = [
        replace(start, seed=6),
        replace(start, text=TEXT + 1),
        replace(start, first_frame=FIRST + 1),
        replace(start, first_frame=None),
    ]
    for other in others:
        assert kept.shared_with(other, PARTS) is other


def test_labels_are_part_of_the_path(walked: list[Chunk]) -> None:
    kept = walked[-1].world
    relabelled = [*PARTS[:2], replace(PARTS[2], labels=PARTS[2].labels * 0 + 5), *PARTS[3:]]
    assert kept.shared_with(kept.at_chunk(0), relabelled).chunks == 2


def test_a_start_within_the_kept_world_counts_and_one_beyond_it_does_not(walked: list[Chunk]) -> None:
    kept = walked[-1].world
    assert kept.shared_with(kept.at_chunk(2), PARTS[2:4]) == kept.at_chunk(4)
    assert kept.at_chunk(2).shared_with(kept, PARTS) is kept
    strange = replace(kept.at_chunk(2), history=kept.history[1:3])
    assert kept.shared_with(strange, PARTS[2:]) is strange


def test_the_shorter_path_shares_no_more_than_it_has(walked: list[Chunk]) -> None:
    kept = walked[-1].world
    assert kept.shared_with(kept.at_chunk(0), PARTS[:3]).chunks == 3


def test_a_list_of_parts_stops_at_the_chunks_asked_for(model: WanDiT, walked: list[Chunk]) -> None:
    walker = walker_for(model)
    start = walked[-1].world.at_chunk(0)
    listed = list(walker.walk(start, list(PARTS), 2))
    assert [chunk.index for chunk in listed] == [0, 1]
    assert listed[-1].world == walked[1].world
