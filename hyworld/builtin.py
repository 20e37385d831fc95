"""The built-in models: the same classes as WAN-5B, small enough for a laptop, with no file to download.

`tiny` was trained in this repository (training/tiny_world) and walks through rooms and courtyards; its files and what
is known of them (card.md) lie in `tiny_world/`. `tiny-random` has random weights (a fixed seed) and draws coloured
noise: for tests of everything but the picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from PIL import Image

from .config import TINY, TINY_RANDOM, Preset, TinyDecoderConfig
from .dit import WanDiT
from .errors import InputError
from .fingerprint import Fingerprint, fingerprint, same_model
from .picture import open_picture
from .text import ByteTextEncoder
from .vae import TinyDecoder, Wan22VAE
from .weights import load_dit, load_tiny_decoder, load_vae, open_dit, open_vae
from .weights.random import randomise

FOLDER = Path(__file__).with_name("tiny_world")
NETWORK = FOLDER / "tiny_world.safetensors"
VAE = FOLDER / "tiny_world_vae.safetensors"
DECODER = FOLDER / "tiny_world_decoder.safetensors"

FIRST_FRAMES = 8
"""Pictures that ship with the trained world, of scenes it was not trained on."""

SCENE = 3
"""Of them, the one to start from: a courtyard with a column that a turn to the right loses from sight."""

NOT_TRAINED = (
    f"the trained weights of the built-in world are missing from {FOLDER}, so `tiny-random` takes its place and draws "
    "coloured noise: install the package again, or train them with training/tiny_world"
)
"""Said where `preset` had to choose the other preset."""

# fmt: off
LATENT_RGB = (
    (0.072, -0.073, 0.267), (-0.116, -0.024, 0.011), (0.010, -0.061, 0.090),
    (-0.050, 0.005, 0.189), (-0.196, 0.082, 0.063), (0.136, -0.080, -0.104),
    (-0.085, 0.076, -0.127), (-0.079, -0.007, -0.099), (-0.223, -0.041, 0.015),
    (0.162, 0.102, 0.108), (0.181, -0.099, -0.187), (-0.265, 0.086, 0.013),
    (-0.048, 0.071, 0.124), (0.138, 0.069, -0.168), (0.105, 0.132, -0.148),
    (-0.143, 0.161, -0.172), (-0.026, -0.134, -0.111), (0.101, 0.029, -0.014),
    (0.059, 0.196, -0.264), (0.121, -0.002, 0.188), (-0.054, 0.222, -0.202),
    (0.324, -0.158, -0.259), (0.091, 0.006, 0.059), (-0.047, -0.062, -0.121),
)
# fmt: on
LATENT_RGB_BIAS = (-0.200, -0.188, -0.158)
"""Rough colours of the trained world's latents: normalised `[…, 24]` @ `LATENT_RGB` + bias is RGB in [-1, 1].

Least squares over 96 latents of five walks and their decoded frames, each averaged over 16x16 pixels.
"""

DECODER_SIZES = TinyDecoderConfig(latent_channels=TINY.vae.z_dim, layout="small")
"""Of the trained world's tiny decoder: 1.6 M parameters, about a seventh of the VAE decoder's time on a CPU."""

_SEED = 2026


def preset(name: str) -> Preset:
    """`TINY` or `TINY_RANDOM`, by name; `TINY_RANDOM` for both where the trained weights are absent.

    Raises:
        InputError: another name.
    """
    if name not in (TINY.name, TINY_RANDOM.name):
        raise InputError(f"The built-in models are {TINY.name} and {TINY_RANDOM.name}, got {name!r}.")
    return TINY if name == TINY.name and NETWORK.is_file() and VAE.is_file() else TINY_RANDOM


def maker(network: Fingerprint, vae: Fingerprint, latent_channels: int) -> Preset | None:
    """The built-in model whose world has these fingerprints; None if it was another. Unknown ones can be any's."""
    for of in dict.fromkeys((preset(TINY.name), TINY_RANDOM)):
        ours = fingerprints(of)
        if of.vae.z_dim == latent_channels and same_model(network, ours[0]) and same_model(vae, ours[1]):
            return of
    return None


def fingerprints(of: Preset) -> tuple[Fingerprint, Fingerprint]:
    """Of the network and of the VAE of a built-in preset."""
    if of is TINY:
        return open_dit(NETWORK).fingerprint, fingerprint(open_vae(VAE).state)
    return dit(of).fingerprint, vae(of).fingerprint


def dit(of: Preset) -> WanDiT:
    """The transformer of a built-in preset, float32 on the CPU."""
    if of is TINY:
        return load_dit(NETWORK, dtype=torch.float32)
    network = randomise(WanDiT(TINY_RANDOM.dit), _SEED)
    network.fingerprint = fingerprint(network.state_dict())
    return network


def vae(of: Preset) -> Wan22VAE:
    """The VAE of a built-in preset, float32 on the CPU."""
    if of is TINY:
        loaded = load_vae(VAE, dtype=torch.float32)
        assert isinstance(loaded, Wan22VAE)
        return loaded
    module = randomise(Wan22VAE(TINY_RANDOM.vae), _SEED + 1)
    module.fingerprint = fingerprint(module.state_dict())
    return module


def decoder(of: Preset) -> TinyDecoder:
    """A TAEHV-style decoder for the latents of a built-in preset, float32 on the CPU.

    Raises:
        InputError: the trained world's file is missing.
    """
    if of is TINY:
        if not DECODER.is_file():
            raise InputError(
                f"The tiny decoder of the built-in world is missing from {FOLDER}: choose the full one, install the "
                "package again, or train it with training/tiny_world."
            )
        return load_tiny_decoder(DECODER, dtype=torch.float32)
    return randomise(TinyDecoder(TinyDecoderConfig(latent_channels=TINY_RANDOM.vae.z_dim)), _SEED + 2)


def live_decoder(of: Preset) -> Literal["full", "tiny"]:
    """The decoder for walking live where nobody chose one: the full one keeps no pace on a CPU."""
    return "tiny" if of is TINY and DECODER.is_file() else "full"


def text_encoder() -> ByteTextEncoder:
    """Prompt → embeddings, without a language model; the trained network takes no notice of them."""
    return ByteTextEncoder(TINY.dit.text_dim, tokens=TINY.text_tokens)


def first_frame(scene: int = SCENE) -> Image.Image:
    """A picture for the trained world to start from: 0 to `FIRST_FRAMES` - 1.

    Raises:
        InputError: another number.
    """
    if scene not in range(FIRST_FRAMES):
        raise InputError(f"The scenes of the built-in world are 0 to {FIRST_FRAMES - 1}, got {scene}.")
    return open_picture(FOLDER / "first_frames" / f"{scene}.png")
