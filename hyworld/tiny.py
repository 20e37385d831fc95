"""The built-in `tiny` model: the same classes as WAN-5B, small enough for a laptop, with no file to download.

Its weights are random (a fixed seed), so it draws coloured noise; what it shows is every part at work.
"""

from __future__ import annotations

from .config import TINY, TinyDecoderConfig
from .dit import WorldPlayDiT
from .text import ByteTextEncoder
from .vae import TinyDecoder, WanVAE
from .weights.random import randomise

_SEED = 2026


def tiny_dit() -> WorldPlayDiT:
    """The transformer, float32 on the CPU."""
    return randomise(WorldPlayDiT(TINY.dit), _SEED)


def tiny_vae() -> WanVAE:
    """The VAE, float32 on the CPU."""
    return randomise(WanVAE(TINY.vae), _SEED + 1)


def tiny_decoder() -> TinyDecoder:
    """A TAEHV-style decoder for the tiny latents, float32 on the CPU."""
    return randomise(TinyDecoder(TinyDecoderConfig(latent_channels=TINY.vae.z_dim)), _SEED + 2)


def tiny_text_encoder() -> ByteTextEncoder:
    """Prompt → embeddings, without a language model."""
    return ByteTextEncoder(TINY.dit.text_dim, tokens=TINY.text_tokens)
