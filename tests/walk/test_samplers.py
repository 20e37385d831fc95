"""How steps go on from the flow."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hyworld.walk import Recipe
from hyworld.walk.samplers import sampler
from hyworld.walk.schedules import evenly, step_list, unipc

from .streaming import DISTILLED

CLEAN, NOISE = torch.randn(2, 1, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0)).unbind()
DRAWS = torch.randn(4, 1, 3, 2, 4, 4, generator=torch.Generator().manual_seed(1))

RECIPES = {
    "euler": replace(DISTILLED, advance="euler", **evenly(6, 5.0)._asdict()),
    "renoise": replace(DISTILLED, **step_list((1000, 750, 500, 250), 5.0)._asdict()),
    "unipc": replace(DISTILLED, advance="unipc", **unipc(6, 5.0)._asdict()),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_network_that_knows_the_clean_latents_is_followed_there(name: str):
    """On the way latents are (1 - sigma) * clean + sigma * noise; at the end they are clean."""
    recipe = RECIPES[name]
    steps = sampler(recipe, lambda k: DRAWS[k])
    x = (1 - recipe.sigmas[0]) * CLEAN + recipe.sigmas[0] * NOISE
    for step, sigma in enumerate(recipe.sigmas[:-1]):
        x = steps.advance(x, (x - CLEAN) / sigma, step)
        noise = DRAWS[step + 1] if name == "renoise" and step < 3 else NOISE
        following = recipe.sigmas[step + 1]
        torch.testing.assert_close(x, (1 - following) * CLEAN + following * noise, rtol=0, atol=1e-5)
    torch.testing.assert_close(x, CLEAN, rtol=0, atol=1e-5)


def followed(recipe: Recipe) -> torch.Tensor:
    """Where a flow that bends leads."""
    steps, x = sampler(recipe, lambda k: DRAWS[k]), NOISE
    for step, sigma in enumerate(recipe.sigmas[:-1]):
        x = steps.advance(x, 0.5 * x - torch.tanh(x + sigma), step)
    return x


def test_unipc_comes_closer_than_euler():
    exact = followed(replace(RECIPES["euler"], **evenly(4000, 1.0)._asdict()))
    schedule = evenly(10, 1.0)._asdict()
    unipc_error, euler_error = (
        (followed(replace(RECIPES[name], **schedule)) - exact).norm() for name in ("unipc", "euler")
    )
    assert unipc_error < euler_error / 20
