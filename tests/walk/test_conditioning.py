"""What a forward is given beside latents and prompt, as the network sees it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hyworld.dit import Inputs

from .streaming import DISTILLED, PICTURE, RECIPES, SIZE, Counted, begun, noise, walked, walker_for


def asked(name: str, chunks: int = 2) -> tuple[torch.Tensor, list[Inputs]]:
    """Latents of a walk, and what the network was asked on it."""
    walker = walker_for(RECIPES[name])
    world = walked(walker, begun(walker), chunks)
    assert isinstance(walker.network, Counted)
    return world.latents, walker.network.asked


def test_a_stamped_picture_is_in_every_forward_of_its_chunk():
    latents, forwards = asked("picture")
    assert torch.equal(latents[:, :, :1], PICTURE)
    first, context, second = forwards[:2], forwards[2], forwards[3:]
    assert all(torch.equal(inputs.latents[:, :, :1], PICTURE) for inputs in (*first, context))
    assert not any(torch.equal(inputs.latents[:, :, :1], PICTURE) for inputs in second)
    assert torch.equal(context.latents, latents[:, :, :2])
    assert [inputs.timestep.unique().tolist() for inputs in forwards] == [
        [1000.0],
        [pytest.approx(5000 / 6)],
        [0.0],
        [1000.0],
        [pytest.approx(5000 / 6)],
    ]


def test_a_picture_is_read_without_context_noise():
    walker = walker_for(replace(RECIPES["picture"], context_noise=100.0, context_timestep=100.0))
    world = walked(walker, begun(walker), 2)
    context = walker.network.asked[2]
    assert torch.equal(context.latents[:, :, :1], PICTURE)
    assert not torch.equal(context.latents[:, :, 1:], world.latents[:, :, 1:2])


def test_a_pictures_latent_may_have_a_timestep_of_its_own():
    walker = walker_for(replace(RECIPES["picture at timestep 0"], guidance=1.0, context_timestep=30.0))
    world = walked(walker, begun(walker), 2)
    told = [inputs.timestep[0].tolist() for inputs in walker.network.asked]
    steps = walker.recipe.timesteps
    assert told == [*([0.0, t] for t in steps), [0.0, 30.0], *([t, t] for t in steps)]
    assert torch.equal(world.latents[:, :, :1], PICTURE)


def test_a_chunk_that_is_its_picture_is_not_denoised():
    recipe = replace(RECIPES["framewise"], picture="stamp")
    walker = walker_for(recipe)
    told = []
    world = walked(walker, begun(walker), 1, on_progress=told.append)
    assert torch.equal(world.latents, PICTURE)
    assert walker.network.asked == []
    assert told == [(0, 0), (0, recipe.steps)]
    walked(walker, world, 1)
    assert walker.network.timesteps() == [0.0, *recipe.timesteps]


def test_a_picture_in_channels_comes_with_its_mask_in_the_first_chunk():
    walker = walker_for(replace(RECIPES["channels"], guidance=1.0))
    pictures = noise(1, 6, 2, *SIZE, seed=5)
    world = walked(walker, replace(begun(walker), first_frame=pictures, negative=None), 2)
    first, context, second = walker.network.asked[0], walker.network.asked[2], walker.network.asked[3]
    for inputs in (first, context):
        assert inputs.latents.shape == (1, 16, 2, *SIZE)
        assert (inputs.latents[:, 6:10, 0] == 1).all()
        assert not inputs.latents[:, 6:10, 1].any()
        assert torch.equal(inputs.latents[:, 10:], pictures)
    assert torch.equal(context.latents[:, :6], world.latents[:, :, :2])
    assert not second.latents[:, 6:].any()
    assert all(inputs.image_kv is not None for inputs in walker.network.asked)


def test_guidance_leads_away_from_the_negative_prompt():
    """One step at sigma 1: clean = noise - flow, and flow = away + scale * (towards - away)."""
    steps = {"timesteps": (1000.0,), "sigmas": (1.0, 0.0)}
    made = {}
    for scale in (1.0, 2.0, 4.0):
        walker = walker_for(replace(RECIPES["guided"], guidance=scale, **steps))
        made[scale] = walked(walker, begun(walker), 1).latents
    away = 2 * made[1.0] - made[2.0]
    torch.testing.assert_close(made[4.0], away + 4 * (made[1.0] - away), rtol=0, atol=1e-4)
    assert (made[2.0] - made[1.0]).abs().max() > 1e-3


@pytest.mark.parametrize(("boundary", "high"), [(1000.0, [1000.0]), (1000.1, []), (833.0, [1000.0, 5000 / 6])])
def test_the_first_network_is_asked_at_the_boundary_and_above(boundary: float, high: list[float]):
    """Both read the clean latents, each into its own past."""
    walker = walker_for(replace(DISTILLED, boundary=boundary))
    walked(walker, begun(walker), 2)
    low = [t for t in DISTILLED.timesteps if not any(t == pytest.approx(other) for other in high)]
    first, second = walker.network.timesteps(), walker.second.timesteps()
    assert first == pytest.approx([*high, 0.0, *high])
    assert second == pytest.approx([*low, 0.0, *low])


def test_two_networks_may_be_guided_differently():
    dual = replace(RECIPES["guided dual"], low_guidance=1.0)
    walker = walker_for(dual)
    walked(walker, begun(walker), 2)
    high, low = dual.timesteps
    assert walker.network.timesteps() == [high, high, 0.0, 0.0, high, high]
    assert walker.second.timesteps() == [low, 0.0, low]
