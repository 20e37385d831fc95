"""Sizes of the tiny world's networks and pictures: those of the preset `TINY`, which ships what is trained here."""

from __future__ import annotations

from hyworld.config import TINY

SIZE = TINY.size
"""Height and width of the pictures; 1.8 wide, so that the default camera has almost square pixels."""

LATENT_SIZE = (SIZE[0] // 16, SIZE[1] // 16)

VAE = TINY.vae
"""2.9 M parameters. The statistics are measured after training and replace these."""

Z_DIM = VAE.z_dim

DIT = TINY.dit
"""8.6 M parameters."""

PATH_LATENTS = 64
"""Latents (16 chunks) of a training path: just long enough to leave a view and come back after ten chunks and more."""

HELD_OUT_SEED = 1 << 40
"""Scenes from this seed on are never trained on; training counts up from 0."""
