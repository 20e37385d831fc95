"""Does a network fit the recipe, and a world both? Asked in one place, before anything is computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..camera import Trajectory
from ..config import PATCH, TINY, WAN_5B, DiTConfig
from ..errors import InputError
from ..fingerprint import Fingerprint, same_model
from .recipe import Recipe
from .samplers import missing_package
from .world import World

PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)


def standing_still(latents: int) -> Trajectory:
    """Cameras of latents that a network without cameras made: all at the origin."""
    still = Trajectory.from_tokens("w-1")[:1]
    return Trajectory(still.c2w.repeat(latents, 0), still.intrinsics.repeat(latents, 0), np.zeros(latents, np.int64))


def check_recipe(
    recipe: Recipe, config: DiTConfig, second: DiTConfig | None = None, spatial_stride: int | None = None
) -> None:
    """Raise `InputError` unless networks of these sizes can be walked by `recipe`, and what it needs is installed.

    spatial_stride: the decoder's, if there is one.
    """
    if (recipe.follows_camera, recipe.camera_branch) != (config.cameras, bool(config.camera_width)):
        kind = "follows a camera" if config.cameras else "follows no camera"
        if config.cameras and recipe.follows_camera:
            kind += " in another way"
        raise InputError(f"The recipe {recipe.name} is not for a model that {kind}: choose the model's own.")
    channels = config.image_channels
    if (recipe.picture == "channels") != bool(channels) or 0 < channels <= config.latent_channels:
        raise InputError(
            f"The recipe {recipe.name} and a model with {channels} input channels for the picture do not belong "
            "together: choose the model's own recipe."
        )
    if (second is None) != (recipe.boundary is None):
        count = "one network" if second is None else "two networks"
        raise InputError(f"The recipe {recipe.name} is not for {count}: give as many as it has.")
    if second is not None and second != config:
        raise InputError("The two networks are not of one model: give its high-noise and its low-noise network.")
    if spatial_stride not in (None, recipe.spatial_stride):
        raise InputError(
            f"The decoder makes {spatial_stride} pixels of a latent cell, but the recipe {recipe.name} needs one that "
            f"makes {recipe.spatial_stride}: give the VAE the model was trained with, or its tiny decoder."
        )
    if (missing := missing_package(recipe)) is not None:
        raise InputError(missing)


def fitted(
    world: World, config: DiTConfig, recipe: Recipe, *, network: Fingerprint = (), vae: Fingerprint = ()
) -> World:
    """`world` with all tensors in host memory, latents in a precision of networks.

    Raises:
        InputError: its prompts, size, latents, picture or seed are not for this network and recipe.
    """
    negative, first = world.negative, world.first_frame
    C, h, w = world.latent_shape
    n = recipe.chunk_latents
    _check_text(world.text, config)
    if recipe.is_guided:
        if negative is None:
            raise InputError(f"The recipe {recipe.name} is guided: give a negative prompt, too.")
        _check_text(negative.text, config)
    if config.latent_channels != C:
        raise InputError(
            f"The world has {C} latent channels, but this model needs {config.latent_channels}: walk on in it with the "
            "model that made it, or encode the first frame with the VAE that belongs to this one."
        )
    if world.spatial_stride != recipe.spatial_stride:
        raise InputError(
            f"A latent cell of the world covers {world.spatial_stride} pixels, but one of this model's VAE "
            f"{recipe.spatial_stride}: walk on in it with the model that made it."
        )
    if h % PATCH or w % PATCH or min(h, w) < PATCH:
        raise InputError(f"Both sides of the latents must be even, got {h}x{w}.")
    _check_picture(world, config, recipe)
    for i, step in enumerate(world.history, start=1):
        latents = step.latents
        if tuple(latents.shape) != (1, C, n, h, w) or len(step.cameras) != n:
            raise InputError(
                f"Chunk {i} of the world has latents of shape {list(latents.shape)} and {len(step.cameras)} poses, but "
                f"{[1, C, n, h, w]} and {n} are needed: walk on with the model that made it."
            )
    if not isinstance(world.seed, int) or world.seed < 0:
        raise InputError(f"The seed must be a whole number, 0 or larger, got {world.seed!r}.")
    for name, theirs, ours in (("network", world.network, network), ("VAE", world.vae, vae)):
        if not same_model(theirs, ours):
            raise InputError(
                f"The world was made by another {name} of the same size: walk on in it with the one that made it, or "
                "give up its fingerprint (any_model)."
            )
    history = tuple(
        step if _home(step.latents) is step.latents else replace(step, latents=_home(step.latents))
        for step in world.history
    )
    return replace(
        world,
        text=world.text.cpu(),
        first_frame=None if first is None else first.to("cpu", torch.float32),
        history=history,
        negative=None if negative is None else negative._replace(text=negative.text.cpu()),
        clip=None if world.clip is None else world.clip.cpu(),
    )


def _check_text(text: Tensor, config: DiTConfig) -> None:
    if text.ndim != 3 or text.shape[0] != 1 or not text.shape[1] or text.shape[2] != config.text_dim:
        raise InputError(
            f"The prompt embeddings must have the shape [1, tokens, {config.text_dim}], got {list(text.shape)}: encode "
            f"the prompt with the model's own text encoder ({WAN_5B.dit.text_dim}: UMT5-XXL, in ComfyUI Load CLIP of "
            f"type wan; {TINY.dit.text_dim}: that of Tiny World)."
        )


def _check_picture(world: World, config: DiTConfig, recipe: Recipe) -> None:
    first, clip = world.first_frame, world.clip
    C, h, w = world.latent_shape
    in_channels = recipe.picture == "channels"
    if first is None:
        if in_channels:
            raise InputError(f"The recipe {recipe.name} begins from a picture: give one.")
    elif recipe.picture is None:
        raise InputError(f"The recipe {recipe.name} takes no picture: leave it out.")
    elif tuple(first.shape) != (1, C, recipe.chunk_latents if in_channels else 1, h, w):
        wanted = [1, C, recipe.chunk_latents if in_channels else 1, h, w]
        what = "the picture and black frames after it" if in_channels else "one picture"
        raise InputError(
            f"The first frame's latent must have the shape {wanted}, got {list(first.shape)}: encode {what} at the "
            "size of the world, with the VAE that belongs to the model."
        )
    if config.clip_dim and (clip is None or clip.ndim != 3 or clip.shape[0] != 1 or clip.shape[2] != config.clip_dim):
        got = "none" if clip is None else str(list(clip.shape))
        raise InputError(
            f"This model reads CLIP tokens of the picture, of shape [1, tokens, {config.clip_dim}], got {got}: encode "
            "the picture with its CLIP vision model."
        )


def _home(latents: Tensor) -> Tensor:
    """In host memory, in a precision of networks; the same object if it is that already."""
    return latents.to("cpu", latents.dtype if latents.dtype in PRECISIONS else torch.float32)
