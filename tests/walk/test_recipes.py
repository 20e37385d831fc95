"""Recipes, their schedules, and what a walk by them refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hyworld import InputError, Trajectory
from hyworld.config import DiTConfig, MemoryConfig
from hyworld.vae import Wan22VAE
from hyworld.walk import WORLDPLAY, Recipe, Rolling, Walker, Words
from hyworld.walk.decoding import Decoding
from hyworld.walk.recipe import chunk_noise
from hyworld.walk.recipes import CAUSAL_WAN22_14B, RECIPES, SELF_FORCING, TI2V_5B, WAN21_T2V, recipe, rescheduled
from hyworld.walk.schedules import sigma_near, step_list, unipc
from hyworld.weights.random import randomise

from . import streaming
from .conftest import VAE_CONFIG
from .streaming import DISTILLED, NEGATIVE, PICTURE, SIZE, SOLVED, TEXT, Counted, begun, walked, walker_for


def test_a_distilled_schedule_is_the_originals():
    """Self-Forcing's, at the shift it was trained with; and WorldPlay's, which has another shift."""
    assert SELF_FORCING.timesteps == pytest.approx((1000, 937.5, 2500 / 3, 625))
    assert SELF_FORCING.sigmas == pytest.approx((1, 0.9375, 5 / 6, 0.625, 0))
    assert step_list((1000, 750, 500, 250), 8.0).timesteps == pytest.approx(WORLDPLAY.timesteps, rel=1e-6)
    assert step_list((1000, 500), 5.0, warped=False).timesteps == (1000.0, 500.0)
    assert step_list((1000, 500), 5.0, warped=False).sigmas[1] == pytest.approx(0.5, abs=1e-3)
    assert sigma_near(0, 1.0) == pytest.approx(0.001)


def test_an_undistilled_schedule_is_the_originals():
    """From 0.999 and shifted; diffusers' own would begin at 1."""
    timesteps, sigmas = unipc(4, 5.0)
    assert timesteps == (999.0, 937.0, 833.0, 624.0)
    assert sigmas == pytest.approx((0.9997998, 0.9372655, 0.8330554, 0.6246873, 0.0), abs=1e-7)
    assert len(TI2V_5B.timesteps) == 50
    assert WAN21_T2V.timesteps[:3] == (999.0, 997.0, 994.0)


def test_recipes_are_found_by_name():
    assert all(recipe(name).name == name for name in RECIPES)
    assert recipe("worldplay") is WORLDPLAY
    with pytest.raises(InputError, match=r"no recipe 'self-forcing': choose one of worldplay, self_forcing, "):
        recipe("self-forcing")


def test_a_schedule_is_made_anew_where_the_checkpoint_leaves_it_open():
    assert rescheduled(SELF_FORCING) == SELF_FORCING
    other = rescheduled(SELF_FORCING, shift=8.0)
    assert other.timesteps == pytest.approx(WORLDPLAY.timesteps, rel=1e-6)
    assert rescheduled(other, shift=5.0) == SELF_FORCING
    assert rescheduled(TI2V_5B, steps=4).timesteps == (999.0, 937.0, 833.0, 624.0)
    assert rescheduled(TI2V_5B, steps=50) == TI2V_5B
    with pytest.raises(InputError, match="self_forcing is distilled to 4 steps"):
        rescheduled(SELF_FORCING, steps=8)
    with pytest.raises(InputError, match="schedule of worldplay is fixed"):
        rescheduled(WORLDPLAY, shift=5.0)
    with pytest.raises(InputError, match="must be a positive number, got -1"):
        rescheduled(SELF_FORCING, shift=-1)
    with pytest.raises(InputError, match="must be 1 or larger, got 0"):
        unipc(0, 5.0)
    with pytest.raises(InputError, match=r"fall from 1000 towards 1, got \[500, 750\]"):
        step_list((500, 750), 5.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sigmas": (1.0, 0.0)}, "one sigma more than timesteps, got 2 and 4"),
        ({"advance": "heun"}, "euler, renoise, unipc, got 'heun'"),
        ({"picture": "held"}, "stamp or channels, or is None, got 'held'"),
        ({"guidance": 2.0}, "need a rolling memory"),
        ({"boundary": 900.0}, "need a rolling memory"),
        ({"memory": Rolling(window=3, sink=1)}, "a chunk of 4 latents or more, .* got a window of 3 and a sink of 1"),
        ({"memory": Rolling(window=4, sink=-1)}, "a sink 0 or more, got a window of 4 and a sink of -1"),
        ({"memory": Rolling(window=4), "context_noise": 100.0}, "give the recipe its shift"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(fields: dict, message: str):
    with pytest.raises(InputError, match=message):
        Recipe(**fields)


WITH_CHANNELS = replace(streaming.CONFIG, image_channels=10)


@pytest.mark.parametrize(
    ("recipe", "config", "second", "message"),
    [
        (WORLDPLAY, streaming.CONFIG, None, "worldplay is not for a model that follows no camera"),
        (DISTILLED, DiTConfig(num_layers=1, head_dim=8, num_heads=1), None, "not for a model that follows a camera"),
        (DISTILLED, WITH_CHANNELS, None, "small and a model with 10 input channels for the picture do not belong"),
        (replace(DISTILLED, picture="channels"), streaming.CONFIG, None, "a model with 0 input channels"),
        (CAUSAL_WAN22_14B, streaming.CONFIG, None, "causal_wan22_14b is not for one network"),
        (DISTILLED, streaming.CONFIG, streaming.CONFIG, "small is not for two networks"),
        (
            replace(DISTILLED, boundary=900.0),
            streaming.CONFIG,
            replace(streaming.CONFIG, num_layers=1),
            "two networks are not of one model",
        ),
    ],
)
def test_networks_that_are_not_for_a_recipe_are_refused(recipe: Recipe, config, second, message: str):
    with pytest.raises(InputError, match=message):
        Walker(Counted(0, config), recipe=recipe, second=None if second is None else Counted(1, second))


def test_a_decoder_of_other_cells_is_refused():
    vae = randomise(Wan22VAE(VAE_CONFIG), 0)
    with pytest.raises(InputError, match=r"makes 16 pixels of a latent cell, but the recipe small needs .* makes 8"):
        walker_for(DISTILLED, decoding=Decoding(vae))
    recipe = replace(DISTILLED, spatial_stride=16)
    walker = walker_for(recipe, decoding=Decoding(vae))
    frames = [chunk.frames.shape for chunk in walker.walk(begun(walker), chunks=2)]
    assert frames == [(5, 64, 96, 3), (8, 64, 96, 3)]


def test_a_sampler_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hyworld.walk.samplers.find_spec", lambda name: None)
    walker_for(DISTILLED)
    with pytest.raises(InputError, match=r"small samples with UniPC, which diffusers brings: .*pip install diffusers"):
        walker_for(SOLVED)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("guided", {"negative": None}, "is guided: give a negative prompt"),
        ("guided", {"negative": Words(torch.zeros(1, 5, 9))}, r"\[1, tokens, 10\], got \[1, 5, 9\]"),
        ("window", {"first_frame": PICTURE}, "small takes no picture: leave it out"),
        ("window", {"spatial_stride": 16}, "covers 16 pixels, but one of this model's VAE 8"),
        ("window", {"network": (9.0,)}, "made by another network"),
        ("picture", {"first_frame": torch.zeros(1, 6, 2, *SIZE)}, r"\[1, 6, 1, 4, 6\], got \[1, 6, 2, 4, 6\]"),
        ("channels", {"first_frame": None}, "small begins from a picture: give one"),
        ("channels", {"first_frame": PICTURE}, r"\[1, 6, 2, 4, 6\], got .*: encode the picture and black frames"),
        ("channels", {"clip": None}, r"CLIP tokens of the picture, of shape \[1, tokens, 8\], got none"),
        ("channels", {"clip": torch.zeros(1, 3, 7)}, r"\[1, tokens, 8\], got \[1, 3, 7\]"),
    ],
)
def test_a_world_that_does_not_fit_is_refused_before_anything_runs(name: str, change: dict, message: str):
    walker = walker_for(streaming.RECIPES[name])
    world = walked(walker, begun(walker), 1)
    walker.network.asked.clear()
    with pytest.raises(InputError, match=message):
        walker.walk(replace(world, **change), chunks=1)
    with pytest.raises(InputError, match=message):
        walker.step(replace(world, **change))
    assert not walker.network.asked


def test_a_world_of_longer_chunks_is_refused():
    walker = walker_for(streaming.RECIPES["framewise"])
    world = walked(walker, begun(walker), 1)
    with pytest.raises(InputError, match=r"Chunk 1 of the world has latents of shape \[1, 6, 1, 4, 6\] and 1 poses"):
        walker_for(DISTILLED).walk(world, chunks=1)


def test_a_model_without_cameras_is_told_how_far_and_not_where():
    walker = walker_for(DISTILLED)
    world = begun(walker)
    for path in ("w-4", Trajectory.from_tokens("w-3"), iter([])):
        with pytest.raises(InputError, match="follows no camera: leave the path out, and say how many chunks"):
            walker.walk(world, path, 1)
    with pytest.raises(InputError, match="follows no camera"):
        walker.step(world, Trajectory.from_tokens("w-1"))
    for chunks in (0, None):
        with pytest.raises(InputError, match="give the number of chunks"):
            walker.walk(world, chunks=chunks)
    end = walked(walker, world, 2)
    assert (end.path.c2w == torch.eye(4).numpy()).all()
    assert not end.path.labels.any()
    assert str(end) == "World of 2 chunks, 13 frames, 48x32, seed 0"


def test_a_model_with_cameras_is_told_where():
    config = DiTConfig(num_heads=1, head_dim=8, num_layers=1, ffn_dim=8, latent_channels=6, text_dim=10, freq_dim=8)
    walker = Walker(Counted(0, config), points=torch.randn(10, 3))
    world = walker.begin(TEXT.text, latent_size=SIZE)
    with pytest.raises(InputError, match="follows a camera path: give one"):
        walker.walk(world, chunks=2)
    with pytest.raises(InputError, match="exactly 4 camera poses, as a Trajectory, got None"):
        walker.step(world)


def test_noise_is_drawn_once_for_each_purpose():
    shape = (1, 2, 3)
    draws = [chunk_noise(7, 2, shape, draw) for draw in range(3)]
    assert torch.equal(draws[0], chunk_noise(7, 2, shape))
    assert not any(torch.equal(draws[i], draws[j]) for i in range(3) for j in range(i))
    assert [one.draws for one in (WORLDPLAY, DISTILLED, SOLVED, replace(DISTILLED, context_noise=1.0))] == [1, 2, 1, 3]
    walker = walker_for(DISTILLED)
    world = begun(walker, seed=3)
    all_draws = torch.stack([chunk_noise(3, 0, (1, 6, 2, *SIZE), draw) for draw in range(2)])
    made = walked(walker, world, 1).latents
    assert torch.equal(walker.step(world, noise=all_draws).latents, made)
    assert torch.equal(walker.step(world, noise=all_draws[0]).latents, made)
    assert not torch.equal(walker.step(world, noise=all_draws.flip(0)).latents, made)
    with pytest.raises(InputError, match=r"or, with all its draws, \[2, 1, 6, 2, 4, 6\], got \[3, 1, 6, 2, 4, 6\]"):
        walker.step(world, noise=torch.zeros(3, 1, 6, 2, *SIZE))


def test_another_recipe_is_a_value():
    assert replace(SELF_FORCING, memory=MemoryConfig()) != SELF_FORCING
    assert hash(replace(SELF_FORCING)) == hash(SELF_FORCING)
    assert NEGATIVE.prompt
