"""A small network and decoder with random weights, and a walk for them."""

from __future__ import annotations

import pytest
import torch

from hyworld import Trajectory
from hyworld.config import DiTConfig, VAEConfig
from hyworld.dit import WanDiT
from hyworld.vae import StreamingDecoder, Wan22VAE
from hyworld.walk import Walker
from hyworld.walk.decoding import Decoding
from hyworld.weights.random import randomise

SIZE = (4, 6)
CONFIG = DiTConfig(num_heads=2, head_dim=16, num_layers=2, ffn_dim=48, latent_channels=6, text_dim=12, freq_dim=16)
VAE_CONFIG = VAEConfig(encoder_dim=4, decoder_dim=4, z_dim=6, latents_mean=(0.0,) * 6, latents_std=(1.0,) * 6)
PATH = Trajectory.from_tokens("w-7, right-9, d-6, left-5")
PARTS = PATH.split(4)
TEXT = torch.randn(1, 5, 12, generator=torch.Generator().manual_seed(0))
POINTS = torch.randn(500, 3, generator=torch.Generator().manual_seed(1)) * 3


@pytest.fixture(scope="package")
def model() -> WanDiT:
    return randomise(WanDiT(CONFIG), 0)


@pytest.fixture(scope="package")
def vae() -> Wan22VAE:
    return randomise(Wan22VAE(VAE_CONFIG), 1)


def walker_for(network: WanDiT, decoder: StreamingDecoder | None = None, dtype: torch.dtype = torch.float32) -> Walker:
    decoding = None if decoder is None else Decoding(decoder, dtype=dtype)
    return Walker(network, decoding=decoding, dtype=dtype, points=POINTS)
