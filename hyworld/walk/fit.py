"""Does a world fit the network that is to walk on in it? Asked in one place, before anything is computed."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..config import PATCH, TINY, WAN_5B, DiTConfig
from ..errors import InputError
from ..fingerprint import Fingerprint, same_model
from .world import World

PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)


def fitted(
    world: World, config: DiTConfig, chunk_latents: int, *, network: Fingerprint = (), vae: Fingerprint = ()
) -> World:
    """`world` with all tensors in host memory, latents in a precision of networks.

    Raises:
        InputError: its prompt, size, latents, first frame or seed are not for this network.
    """
    text, first = world.text, world.first_frame
    C, h, w = world.latent_shape
    if text.ndim != 3 or text.shape[0] != 1 or not text.shape[1] or text.shape[2] != config.text_dim:
        raise InputError(
            f"The prompt embeddings must have the shape [1, tokens, {config.text_dim}], got {list(text.shape)}: encode "
            f"the prompt with the model's own text encoder ({WAN_5B.dit.text_dim}: UMT5-XXL, in ComfyUI Load CLIP of "
            f"type wan; {TINY.dit.text_dim}: that of Tiny World)."
        )
    if config.latent_channels != C:
        raise InputError(
            f"The world has {C} latent channels, but this model needs {config.latent_channels}: walk on in it with the "
            "model that made it, or encode the first frame with the VAE that belongs to this one."
        )
    if h % PATCH or w % PATCH or min(h, w) < PATCH:
        raise InputError(f"Both sides of the latents must be even, got {h}x{w}.")
    if first is not None and tuple(first.shape) != (1, C, 1, h, w):
        raise InputError(
            f"The first frame's latent must have the shape {[1, C, 1, h, w]}, got {list(first.shape)}: encode one "
            "picture at the size of the world, with the VAE that belongs to the model."
        )
    for i, step in enumerate(world.history, start=1):
        latents = step.latents
        if tuple(latents.shape) != (1, C, chunk_latents, h, w) or len(step.cameras) != chunk_latents:
            raise InputError(
                f"Chunk {i} of the world has latents of shape {list(latents.shape)} and {len(step.cameras)} poses, but "
                f"{[1, C, chunk_latents, h, w]} and {chunk_latents} are needed: walk on with the model that made it."
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
        world, text=text.cpu(), first_frame=None if first is None else first.to("cpu", torch.float32), history=history
    )


def _home(latents: Tensor) -> Tensor:
    """In host memory, in a precision of networks; the same object if it is that already."""
    return latents.to("cpu", latents.dtype if latents.dtype in PRECISIONS else torch.float32)
