"""Recipes of known checkpoints, by name.

Sources: settings of the original programs (Self-Forcing, Causal-Forcing, Wan 2.1, Wan 2.2, DreamX-World), and of
FastVideo for its causal Wan 2.2. Walks past the 21 latents that Self-Forcing was trained for, and its sinks, are
additions: pictures may drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..camera.tokens import DREAMX_SPEEDS
from ..config import MemoryConfig
from ..errors import InputError
from .recipe import WORLDPLAY, Recipe, Rolling
from .schedules import sigma_near, step_list, unipc

NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，残缺的，多余的手指，"
    "画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)
"""What Wan's guided models are led away from, if nobody says otherwise. Source: Wan 2.1 `shared_config.py`."""

LATENTS = 21
"""Of Wan 2.1's clips: 81 frames."""


def _distilled(steps: Sequence[int], shift: float) -> dict[str, Any]:
    schedule = step_list(steps, shift)
    return {"advance": "renoise", "steps_before_shift": tuple(steps), "shift": shift, **schedule._asdict()}


def _solved(steps: int, shift: float) -> dict[str, Any]:
    return {"advance": "unipc", "shift": shift, **unipc(steps, shift)._asdict()}


SELF_FORCING = Recipe(
    name="self_forcing",
    chunk_latents=3,
    memory=Rolling(window=LATENTS),
    context_timestep=0.0,
    picture=None,
    picture_timestep=None,
    spatial_stride=8,
    size=(480, 832),
    **_distilled((1000, 750, 500, 250), 5.0),
)
CAUSAL_FORCING = replace(SELF_FORCING, name="causal_forcing")
CAUSAL_FORCING_FRAMEWISE = replace(
    SELF_FORCING, name="causal_forcing_framewise", chunk_latents=1, picture="stamp"
)  # without a picture it begins from words
SELF_FORCING_LONG = replace(SELF_FORCING, name="self_forcing_long", memory=Rolling(window=7, sink=5, rotated=False))

WAN21_T2V = Recipe(
    name="wan21_t2v",
    chunk_latents=LATENTS,
    memory=Rolling(window=LATENTS),
    context_timestep=0.0,
    picture=None,
    picture_timestep=None,
    guidance=6.0,
    spatial_stride=8,
    size=(480, 832),
    **_solved(50, 8.0),
)
"""Of 1.3B."""

WAN21_T2V_14B = replace(WAN21_T2V, name="wan21_t2v_14b", guidance=5.0, size=(720, 1280), **_solved(50, 5.0))
WAN21_I2V = replace(WAN21_T2V, name="wan21_i2v", picture="channels", guidance=5.0, **_solved(40, 3.0))
"""At 480p; 720p takes shift 5."""

WAN22_T2V_14B = replace(
    WAN21_T2V,
    name="wan22_t2v_14b",
    guidance=4.0,
    low_guidance=3.0,
    boundary=875.0,
    size=(720, 1280),
    **_solved(40, 12.0),
)
WAN22_I2V_14B = replace(
    WAN22_T2V_14B,
    name="wan22_i2v_14b",
    picture="channels",
    guidance=3.5,
    low_guidance=None,
    boundary=900.0,
    **_solved(40, 5.0),
)
CAUSAL_WAN22_14B = replace(
    SELF_FORCING,
    name="causal_wan22_14b",
    boundary=875.0,
    **_distilled((1000, 850, 700, 550, 350, 275, 200, 125), 5.0),
)
"""FastVideo's. Its own settings say shift 12, FlashDreams' 5."""

TI2V_5B = Recipe(
    name="ti2v_5b",
    chunk_latents=31,
    memory=Rolling(window=31),
    context_timestep=0.0,
    picture_timestep=0.0,
    guidance=5.0,
    frames_per_second=24,
    **_solved(50, 5.0),
)
"""With or without a picture."""

DREAMX_5B = Recipe(
    name="dreamx_5b",
    chunk_latents=3,
    memory=Rolling(window=9, sink=3, rotated=False),
    context_timestep=0.1,
    picture_timestep=0.0,
    picture_read_alike=True,
    camera_branch=True,
    speeds=DREAMX_SPEEDS,
    colour_match=1.0,
    **_distilled((1000, 750, 500, 250), 5.0),
)
"""DreamX-World-5B, the autoregressive one."""

DREAMX_5B_BF16 = replace(
    DREAMX_5B,
    name="dreamx_5b_bf16",
    timesteps=(1000.0, 936.0, 832.0, 624.0),
    clean_sigmas=tuple(sigma_near(timestep, 5.0) for timestep in (1000.0, 936.0, 832.0, 624.0)),
    steps_before_shift=(),
)
"""As its own program computes in bfloat16: timesteps are rounded to 8 bits, and clean latents are taken with the sigmas
nearest to these; new noise still comes at the exact ones."""

DREAMX_5B_RECALL = replace(
    DREAMX_5B,
    name="dreamx_5b_recall",
    memory=Rolling(window=9, sink=3, rotated=False, recall=MemoryConfig(radius=30.0)),
)
"""An experiment that nobody trained: WorldPlay's choice of an older clip, in the middle of the window. As far as there,
100 latents of walking ahead, it looks for what it saw."""

RECIPES = {
    recipe.name: recipe
    for recipe in (
        WORLDPLAY,
        SELF_FORCING,
        SELF_FORCING_LONG,
        CAUSAL_FORCING,
        CAUSAL_FORCING_FRAMEWISE,
        CAUSAL_WAN22_14B,
        WAN21_T2V,
        WAN21_T2V_14B,
        WAN21_I2V,
        WAN22_T2V_14B,
        WAN22_I2V_14B,
        TI2V_5B,
        DREAMX_5B,
        DREAMX_5B_BF16,
        DREAMX_5B_RECALL,
    )
}


def recipe(name: str) -> Recipe:
    """The recipe of that name; raises `InputError` with the known names."""
    if name not in RECIPES:
        raise InputError(f"There is no recipe {name!r}: choose one of {', '.join(RECIPES)}.")
    return RECIPES[name]


def rescheduled(recipe: Recipe, *, steps: int | None = None, shift: float | None = None) -> Recipe:
    """`recipe` with another number of steps or another shift; None keeps its own.

    Raises `InputError` where the checkpoint fixes them.
    """
    if recipe.advance == "unipc" and recipe.shift is not None:
        return replace(recipe, **_solved(steps or recipe.steps, shift or recipe.shift))
    if steps not in (None, recipe.steps):
        raise InputError(f"{recipe.name} is distilled to {recipe.steps} steps: leave the number of steps out.")
    if shift is None:
        return recipe
    if not recipe.steps_before_shift:
        raise InputError(f"The schedule of {recipe.name} is fixed: leave its shift out.")
    return replace(recipe, **_distilled(recipe.steps_before_shift, shift))
