"""Rough colours of latents, without a VAE."""

from __future__ import annotations

import comfy.latent_formats
import torch
from torch import Tensor

from ...hyworld import builtin
from ...hyworld.config import TINY

_FACTORS = {
    TINY.dit.latent_channels: (builtin.LATENT_RGB, builtin.LATENT_RGB_BIAS),
    **{
        wan.latent_channels: (wan.latent_rgb_factors, wan.latent_rgb_factors_bias)
        for wan in (comfy.latent_formats.Wan21, comfy.latent_formats.Wan22)
    },
}
ROUGH_CHANNELS = frozenset(_FACTORS)
"""Latent channels of the models whose colours are known."""


def rough_picture(latent: Tensor) -> Tensor:
    """Normalised latent `[C, h, w]`, C of `ROUGH_CHANNELS` → RGB `[h, w, 3]` in 0..1, as the host's own previews."""
    factors, bias = (torch.tensor(numbers) for numbers in _FACTORS[len(latent)])
    return ((latent.float().cpu().movedim(0, -1) @ factors + bias) / 2 + 0.5).clamp(0, 1)
