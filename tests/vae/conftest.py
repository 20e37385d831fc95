"""The reference VAE and tiny decoder: weights and tensors made by the original programs."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from hyworld.config import TinyDecoderConfig, VAEConfig, Wan21VAEConfig
from hyworld.vae import CausalVAE, TinyDecoder, Wan21VAE, Wan22VAE
from hyworld.verify import REFERENCE
from hyworld.weights.random import randomise

WAN21 = Wan21VAEConfig(
    encoder_dim=4, decoder_dim=5, z_dim=3, latents_mean=(0.3, -0.2, 0.1), latents_std=(0.7, 1.3, 1.1)
)


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.fixture(scope="session")
def vae_weights() -> dict[str, Tensor]:
    return load_file(REFERENCE / "vae_weights_native.safetensors")


@pytest.fixture(scope="session")
def vae_golden() -> dict[str, Tensor]:
    return load_file(REFERENCE / "vae_forward.safetensors")


@pytest.fixture(scope="session")
def vae(vae_weights, vae_golden) -> Wan22VAE:
    config = VAEConfig(
        encoder_dim=4,
        decoder_dim=4,
        z_dim=6,
        latents_mean=tuple(vae_golden["latent_mean"].tolist()),
        latents_std=tuple(vae_golden["latent_std"].tolist()),
    )
    model = Wan22VAE(config)
    model.load_state_dict(vae_weights, strict=True)
    return model.eval()


@pytest.fixture(scope="session")
def tiny_weights() -> dict[str, Tensor]:
    """Weights drawn by the rule that the reference file's metadata states in words."""
    with safe_open(REFERENCE / "tiny_decoder.safetensors", "pt") as file:
        shapes = dict(json.loads(file.metadata()["state_dict"]))
    state = {}
    for i, (name, shape) in enumerate(sorted(shapes.items())):
        scale = 1.2 / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 0.05
        state[name] = torch.randn(shape, generator=torch.Generator().manual_seed(1000 + i)) * scale
    return state


@pytest.fixture(scope="session")
def tiny_golden() -> dict[str, Tensor]:
    """`latents` and `frames` as ours are: channels before time, frames in [-1, 1]."""
    stored = load_file(REFERENCE / "tiny_decoder.safetensors")
    return {"latents": stored["latents"].transpose(1, 2), "frames": 2 * stored["frames"].transpose(1, 2) - 1}


@pytest.fixture(scope="session")
def tiny(tiny_weights) -> TinyDecoder:
    decoder = TinyDecoder(TinyDecoderConfig())
    decoder.load_state_dict({k: v for k, v in tiny_weights.items() if k.startswith("decoder.")}, strict=True)
    return decoder.eval()


@pytest.fixture(scope="session")
def small() -> TinyDecoder:
    """The built-in world's layout, with random weights: no other program knows it."""
    return randomise(TinyDecoder(TinyDecoderConfig(latent_channels=6, layout="small", widths=(24, 16, 16, 8))), 4)


@pytest.fixture(scope="session")
def wan21() -> Wan21VAE:
    """A small Wan 2.1 VAE with random weights."""
    return randomise(Wan21VAE(WAN21), 5)


@pytest.fixture(scope="session")
def raw_tiny() -> TinyDecoder:
    """A small tiny decoder as that for Wan 2.1 which reads latents that are not normalised; random weights."""
    mean, std = (0.3, -0.2, 0.1, 0.5, -0.4), (0.7, 1.3, 1.1, 0.9, 1.6)
    config = TinyDecoderConfig(5, widths=(12, 8, 8, 4), patch=1, latents_mean=mean, latents_std=std)
    return randomise(TinyDecoder(config), 6)


@pytest.fixture(scope="session", params=["vae", "wan21", "tiny", "raw_tiny", "small"])
def decoder(request) -> CausalVAE | TinyDecoder:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session", params=["vae", "wan21"])
def either_vae(request) -> CausalVAE:
    return request.getfixturevalue(request.param)
