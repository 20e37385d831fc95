"""Sizes of the tiny world's networks and pictures, from the preset `TINY`."""

from __future__ import annotations

from hyworld.config import TINY

SIZE = TINY.size
"""(height, width) in pixels; the ratio 1.8 gives the default camera almost square pixels."""

LATENT_SIZE = (SIZE[0] // 16, SIZE[1] // 16)

VAE = TINY.vae
"""2.9 M parameters. Its latent statistics are replaced after training."""

Z_DIM = VAE.z_dim

DIT = TINY.dit
"""8.6 M parameters."""

PATH_LATENTS = 64
"""Latents (16 chunks) of a training path: long enough to come back to a view after ten chunks."""

HELD_OUT_SEED = 1 << 40
"""Seeds from here on are never trained on; training counts up from 0."""
