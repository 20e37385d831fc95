"""Colours matched from chunk to chunk; against OpenCV's numbers in tests/verify."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hyworld import World
from hyworld.camera import Trajectory
from hyworld.camera.tokens import DREAMX_SPEEDS
from hyworld.errors import InputError
from hyworld.recipe_choice import adjusted
from hyworld.walk import Walker
from hyworld.walk.colour import ColourMatch, reference_of, to_lab, to_rgb
from hyworld.walk.decoding import Decoding
from hyworld.walk.recipes import DREAMX_5B

from .streaming import PICTURE, TEXT, Counted
from .test_dreamx import CONFIG

PATH = Trajectory.from_tokens("w-11", DREAMX_SPEEDS)  # 4 chunks


class Painter:
    """A decoder: each latent's first channels, four times, the first of a stream once."""

    latent_channels, spatial_stride, reach = 6, 16, 1

    def decode_stream(self, latents: Tensor, cache=None):
        colours = torch.tanh(latents[:, :3])
        frames = colours.repeat_interleave(4, dim=2)
        return (frames if cache else frames[:, :, 3:]), (torch.zeros(1),)


def walker(strength: float) -> Walker:
    recipe = adjusted(DREAMX_5B, colour_match=strength)
    return Walker(Counted(0, CONFIG), recipe=recipe, decoding=Decoding(Painter()))


def shown(walker: Walker, world: World, path) -> tuple[list[Tensor], World]:
    frames = []
    for chunk in walker.walk(world, path):
        frames.append(chunk.frames)
        world = chunk.world
    return frames, world


def begun(walker: Walker) -> World:
    return walker.begin(TEXT.text, first_frame=PICTURE)


def test_every_picture_gets_mean_and_deviation_of_the_reference():
    video = torch.rand(1, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.5 - 0.2
    video[:, :, 1:] += torch.tensor([0.3, -0.1, 0.2])[:, None, None, None]
    matched = ColourMatch(None, 1.0)(video)
    want = reference_of(video[0, :, 0] / 2 + 0.5)
    for i in range(4):
        assert torch.allclose(reference_of(matched[0, :, i] / 2 + 0.5), want, atol=0.3)
    assert not torch.allclose(reference_of(video[0, :, 1] / 2 + 0.5), want, atol=3)


def test_a_picture_of_one_colour_takes_the_mean():
    grey = torch.full((1, 3, 2, 8, 8), 0.1)
    grey[:, :, 1] = 0.5
    matched = ColourMatch(None, 1.0)(grey)
    assert torch.allclose(matched[:, :, 1], matched[:, :, 0], atol=1e-2)


def test_lab_and_back():
    rgb = torch.rand(3, 50, 50, generator=torch.Generator().manual_seed(0))
    assert (to_rgb(to_lab(rgb)) - rgb).abs().max() < 0.02
    white = to_lab(torch.ones(3, 1, 1)).flatten()
    assert torch.allclose(white, torch.tensor([100.0, 0.0, 0.0]), atol=0.02)


def test_frames_are_matched_and_the_world_keeps_to_what(tmp_path: Path):
    one = walker(1.0)
    frames, world = shown(one, begun(one), PATH)
    plain, unmatched = shown(walker(0.0), begun(walker(0.0)), PATH)
    assert torch.equal(world.latents, unmatched.latents)
    assert not torch.equal(frames[1], plain[1])
    assert all(step.colours is None for step in unmatched.history)

    loaded = World.load(world.at_chunk(2).save(tmp_path / "two.world"))
    assert loaded == world.at_chunk(2)
    again, whole = shown(walker(1.0), loaded, [step.cameras for step in world.history[2:]])
    assert whole == world
    assert all(map(torch.equal, again, frames[2:]))
    assert all(map(torch.equal, (chunk.frames for chunk in walker(1.0).replay(whole, 1)), frames[1:]))


def test_a_world_without_colours_goes_on_with_its_own(tmp_path: Path):
    _, world = shown(walker(0.0), begun(walker(0.0)), PATH)
    frames, mixed = shown(walker(1.0), world.at_chunk(2), [world.history[2].cameras])
    assert len(frames) == 1
    assert [step.colours is None for step in mixed.history] == [True, True, False]
    assert World.load(mixed.save(tmp_path / "mixed.world")) == mixed


def test_a_share_beyond_1_is_refused():
    with pytest.raises(InputError, match="a share from 0"):
        adjusted(replace(DREAMX_5B), colour_match=1.5)
