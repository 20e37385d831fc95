"""Sizes of the tiny world's networks and pictures: what the preset in `hyworld.config` becomes once it is trained."""

from __future__ import annotations

from hyworld.config import DiTConfig, VAEConfig

SIZE = (160, 288)
"""Height and width of the pictures; 1.8 wide, so that the default camera has almost square pixels."""

LATENT_SIZE = (SIZE[0] // 16, SIZE[1] // 16)

Z_DIM = 24

VAE = VAEConfig(
    encoder_dim=24,
    decoder_dim=32,
    z_dim=Z_DIM,
    dim_mult=(1, 2, 2, 2),
    num_res_blocks=1,
    latents_mean=(0.0,) * Z_DIM,
    latents_std=(1.0,) * Z_DIM,
)
"""2.9 M parameters. The statistics are measured after training and replace these."""

DIT = DiTConfig(num_heads=8, head_dim=32, num_layers=8, ffn_dim=768, latent_channels=Z_DIM, text_dim=64, freq_dim=64)
"""8.6 M parameters."""

PATH_LATENTS = 64
"""Latents (16 chunks) of a training path: just long enough to leave a view and come back after ten chunks and more."""

HELD_OUT_SEED = 1 << 40
"""Scenes from this seed on are never trained on; training counts up from 0."""
