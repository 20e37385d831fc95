"""The networks that recipes were released with: their sizes, for random weights that cost the same."""

from __future__ import annotations

from typing import Any

from ..config import DREAMX_5B, WAN_5B, DiTConfig, Preset, TinyDecoderConfig, Wan21VAEConfig
from ..walk import Recipe, Rolling

_SIZES: dict[str, dict[str, Any]] = {
    "1.3B": {"num_heads": 12, "num_layers": 30, "ffn_dim": 8960},
    "14B": {"num_heads": 40, "num_layers": 40, "ffn_dim": 13824},
    "5B": {"num_heads": 24, "num_layers": 30, "ffn_dim": 14336},
}
_STRIDE_21 = 8
_CLIP_DIM = 1280


def released(recipe: Recipe) -> Preset:
    """Sizes of the network and VAE that `recipe` is for."""
    if recipe.follows_camera:
        return DREAMX_5B if isinstance(recipe.memory, Rolling) else WAN_5B
    is_21 = recipe.spatial_stride == _STRIDE_21
    in_channels, two = recipe.picture == "channels", recipe.boundary is not None
    parameters = "5B" if not is_21 else "14B" if two or in_channels or recipe.name.endswith("_14b") else "1.3B"
    vae = Wan21VAEConfig() if is_21 else WAN_5B.vae
    network = DiTConfig(
        **_SIZES[parameters],
        latent_channels=vae.z_dim,
        cameras=False,
        image_channels=vae.z_dim + 4 if in_channels else 0,
        clip_dim=_CLIP_DIM if in_channels and not two else 0,
    )
    return Preset(f"{recipe.name} {parameters}", network, vae, WAN_5B.text_tokens, recipe.size)


def tiny_decoder_of(preset: Preset) -> TinyDecoderConfig:
    """Sizes of the TAEHV decoder for the latents of `preset`."""
    return TinyDecoderConfig(latent_channels=preset.vae.z_dim, patch=1 if isinstance(preset.vae, Wan21VAEConfig) else 2)
