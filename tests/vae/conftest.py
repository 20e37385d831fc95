"""The reference VAE and tiny decoder: weights and tensors made by the original programs."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from hyworld.config import TinyDecoderConfig, VAEConfig
from hyworld.vae import TinyDecoder, Wan22VAE
from hyworld.verify import REFERENCE
from hyworld.weights.random import randomise


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


@pytest.fixture(scope="session", params=["vae", "tiny", "small"])
def decoder(request) -> Wan22VAE | TinyDecoder:
    return request.getfixturevalue(request.param)
