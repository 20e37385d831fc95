"""Which recipe a checkpoint is walked by: what its shapes leave open, its name may say, or its user must."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from .config import DiTConfig
from .errors import InputError
from .walk.recipe import Recipe, Rolling
from .walk.recipes import RECIPES, recipe, rescheduled

_STRIDE_21 = 8
_CHANNELS_21 = 16
_WIDTH_14B = 5120

_SAID_BY = {
    "self_forcing": "self_forcing",
    "causal_forcing": "causal_forcing",
    "causal_forcing_framewise": "causal.*frame_?wise",
    "causal_wan22_14b": "(causal|fast_?wan).*2_?2",
    "wan21_t2v": "wan_?2_?1_t2v",
    "wan21_t2v_14b": "wan_?2_?1_t2v",
    "wan21_i2v": "wan_?2_?1_i2v",
}
"""What the name of a file of that recipe matches, as far as files of other recipes have the same shapes."""

_BY_NAME_ALONE = ("dreamx_5b_bf16", "dreamx_5b_recall")
"""Recipes that no file tells from another."""


def recipe_for(config: DiTConfig, path: str | Path, *, asked: str | None = None, two: bool = False) -> Recipe:
    """The recipe for the network in the file `path`.

    asked: its name; None leaves the choice to the network's kind, and where several are of its kind to the file's name.
    two: there is a second network.

    Raises `InputError` for a recipe that is unknown or for another kind of network, and where neither the file nor its
    name says which.
    """
    fitting = [known for known in RECIPES.values() if _fits(known, config, two=two)]
    names = ", ".join(known.name for known in fitting)
    if asked is not None:
        chosen = recipe(asked)
        if chosen not in fitting:
            hint = "give both of its networks" if chosen.boundary and not two else f"choose {names or 'none'}"
            raise InputError(f"The recipe {asked} is not for the network in {path}: {hint}.")
        return chosen
    fitting = [known for known in fitting if known.name not in _BY_NAME_ALONE]
    if not fitting:
        known_kind = (
            "with a second one" if two else "alone: give the low-noise network of a model of two (--low-weights)"
        )
        raise InputError(f"There is no recipe for the network in {path} {known_kind}.")
    if len(fitting) > 1:
        fitting = _named(fitting, Path(path)) or fitting
    if len(fitting) > 1:
        raise InputError(f"{path} can be walked in several ways, and does not say which: add --recipe ({names}).")
    return fitting[0]


def adjusted(
    chosen: Recipe,
    *,
    steps: int | None = None,
    shift: float | None = None,
    guidance: float | None = None,
    colour_match: float | None = None,
) -> Recipe:
    """`chosen` with other settings; None keeps its own. Raises `InputError` for one that its checkpoint fixes."""
    chosen = rescheduled(chosen, steps=steps, shift=shift)
    if colour_match is not None:
        if not 0 <= colour_match <= 1:
            raise InputError(f"The colour match must be a share from 0 (none) to 1, got {colour_match}.")
        chosen = replace(chosen, colour_match=colour_match)
    if guidance is None:
        return chosen
    if not isinstance(chosen.memory, Rolling):
        raise InputError(f"{chosen.name} has its guidance built in: leave the guidance out.")
    if guidance < 1:
        raise InputError(f"The guidance must be 1 (none) or more, got {guidance}.")
    return replace(chosen, guidance=guidance, low_guidance=None)


def _fits(known: Recipe, config: DiTConfig, *, two: bool) -> bool:
    if config.cameras:
        return known.follows_camera and known.camera_branch == bool(config.camera_width) and not two
    is_21 = config.latent_channels == _CHANNELS_21
    return (
        not known.follows_camera
        and (known.spatial_stride == _STRIDE_21) == is_21
        and (known.picture == "channels") == bool(config.image_channels)
        and (known.boundary is not None) == two
        and (known.picture != "channels" or bool(config.clip_dim) != two)
        and _size_fits(known, config)
    )


def _size_fits(known: Recipe, config: DiTConfig) -> bool:
    """Whether the width is that of the recipe's checkpoint, as far as it tells 1.3B from 14B."""
    if known.name.endswith("_14b") or known.boundary is not None:
        return config.dim >= _WIDTH_14B or known.boundary is not None
    return known.picture == "channels" or known.spatial_stride != _STRIDE_21 or config.dim < _WIDTH_14B


def _named(fitting: list[Recipe], path: Path) -> list[Recipe]:
    """Of these, the one that the name of the file or its folder says."""
    name = re.sub(r"[^a-z0-9]+", "_", f"{path.parent.name}_{path.name}".lower())
    said = [known for known in fitting if known.name in _SAID_BY and re.search(_SAID_BY[known.name], name)]
    # "Causal-Forcing frame-wise" says both of its recipes.
    longest = max((len(known.name) for known in said), default=0)
    return [known for known in said if len(known.name) == longest]
