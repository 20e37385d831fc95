"""The world as a value: compared by its numbers, cut and continued without a copy of what lies behind."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from hyworld import InputError, Trajectory, World
from hyworld.dit import WanDiT

from .conftest import PATH, SIZE, TEXT, walker_for


@pytest.fixture(scope="module")
def world(model: WanDiT) -> World:
    walker = walker_for(model)
    return list(walker.walk(walker.begin(TEXT, latent_size=SIZE), PATH, 6))[-1].world


def test_worlds_compare_by_what_they_hold(model: WanDiT, world: World):
    walker = walker_for(model)
    again = list(walker.walk(walker.begin(TEXT.clone(), latent_size=SIZE), PATH, 6))[-1].world
    assert world == again
    assert hash(world) == hash(again)
    assert world != replace(world, seed=1)
    assert world != replace(world, text=TEXT + 1)
    assert world != world.at_chunk(5)
    last = replace(world.history[-1], latents=world.history[-1].latents + 1)
    assert world != replace(world, history=(*world.history[:-1], last))
    assert world != replace(world, first_frame=torch.zeros(1, 6, 1, *SIZE))
    assert world != "world"
    assert pickle.loads(pickle.dumps(world)) == world


def test_a_world_cannot_be_changed(world: World):
    with pytest.raises(FrozenInstanceError):
        world.seed = 3


def test_an_earlier_world_shares_its_history(world: World):
    earlier = world.at_chunk(3)
    assert earlier.chunks == 3
    assert all(a is b for a, b in zip(earlier.history, world.history[:3], strict=True))
    assert earlier.memory_frames == world.memory_frames[:3]
    assert torch.equal(earlier.latents, world.latents[:, :, :12])
    assert world.at_chunk(6) == world
    assert world.at_chunk(0).latents.shape == (1, 6, 0, *SIZE)


@pytest.mark.parametrize("chunks", [-1, 7])
def test_there_is_no_other_chunk_to_go_back_to(world: World, chunks: int):
    with pytest.raises(InputError, match=f"6 chunks: go back to 0 to 6, not {chunks}"):
        world.at_chunk(chunks)


def test_what_a_world_says_of_itself(world: World):
    assert world.size == (64, 96)
    assert world.latents.shape == (1, 6, 24, *SIZE)
    assert world.video_frames == 1 + 4 * 23
    assert torch.equal(world.viewmats, torch.from_numpy(PATH.viewmats[:24]))
    assert (world.path.c2w == PATH.c2w[:24]).all()
    assert (world.path.labels == PATH.labels[:24]).all()


def test_remembered_latents_come_with_their_cameras(world: World):
    frames = (0, 1, 2, 3, 9, 22)
    latents, cameras = world.remembered(frames)
    assert torch.equal(latents, world.latents[:, :, list(frames)])
    assert (cameras.c2w == PATH.c2w[list(frames)]).all()
    assert (cameras.labels == PATH.labels[list(frames)]).all()


def test_onwards_begins_at_the_last_pose(world: World):
    path = Trajectory.from_tokens("left-4")
    part = world.onwards(path)
    assert len(part) == 4
    joined = world.path.join(path)
    assert (part.c2w == joined.c2w[24:]).all()
    assert (part.labels == joined.labels[24:]).all()
    assert world.at_chunk(0).onwards(path) is path
