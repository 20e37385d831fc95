"""How a denoising step goes on from the flow that the network gave: Euler, renoising, UniPC.

The flow is v = noise - clean, so that clean = x - sigma * v. Latents are float32.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Protocol

import torch
from torch import Tensor

from .recipe import Recipe

Draw = Callable[[int], Tensor]
"""Noise of a chunk by its number, on the device; see `Recipe.draws`."""


class Sampler(Protocol):
    """Advances the latents of one chunk, step by step."""

    def advance(self, x: Tensor, flow: Tensor, step: int) -> Tensor:
        """Latents after `step`, of those before it and the flow there, all float32."""


class Euler:
    """x + (next sigma - sigma) * flow: of WorldPlay."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def advance(self, x: Tensor, flow: Tensor, step: int) -> Tensor:
        return x + self._recipe.step_size(step) * flow


class Renoise:
    """To clean latents, and from there with new noise to the next sigma: of distilled networks."""

    def __init__(self, recipe: Recipe, draw: Draw) -> None:
        self._sigmas = recipe.sigmas
        self._clean_sigmas = recipe.clean_sigmas or recipe.sigmas
        self._draw = draw

    def advance(self, x: Tensor, flow: Tensor, step: int) -> Tensor:
        clean = x - self._clean_sigmas[step] * flow
        following = self._sigmas[step + 1]
        return (1 - following) * clean + following * self._draw(step + 1) if following else clean


class UniPC:
    """UniPC of order 2 ("bh2"), predicting clean latents, the last step of order 1: of networks not distilled.

    Diffusers' solver over the original's sigmas: diffusers' own differ, see `schedules.unipc`. So stepped it gives the
    original's states up to float32 rounding.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._solver = _solver()
        self._solver.set_timesteps(recipe.steps)
        self._solver.sigmas = torch.tensor(recipe.sigmas)
        self._solver.timesteps = torch.tensor(recipe.timesteps)
        self._solver.set_begin_index(0)  # else it looks the step up by its timestep, which two may share

    def advance(self, x: Tensor, flow: Tensor, step: int) -> Tensor:
        advanced: Tensor = self._solver.step(flow, self._solver.timesteps[step], x, return_dict=False)[0]
        return advanced


def _solver() -> Any:
    from diffusers import UniPCMultistepScheduler

    return UniPCMultistepScheduler(
        solver_order=2,
        solver_type="bh2",
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        lower_order_final=True,
        final_sigmas_type="zero",
    )


def missing_package(recipe: Recipe) -> str | None:
    """A sentence for the user, if the recipe's sampler needs a package that is not here."""
    if recipe.advance != "unipc" or find_spec("diffusers") is not None:
        return None
    return f"The recipe {recipe.name} samples with UniPC, which diffusers brings: install it (pip install diffusers)."


def sampler(recipe: Recipe, draw: Draw) -> Sampler:
    """The sampler of one chunk."""
    if recipe.advance == "unipc":
        return UniPC(recipe)
    return Renoise(recipe, draw) if recipe.advance == "renoise" else Euler(recipe)
