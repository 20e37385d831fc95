"""The built-in models: the same classes as WAN-5B, small enough for a laptop, with no file to download.

`tiny` was trained in this repository (training/tiny_world) and walks through rooms and courtyards; its files and what
is known of them (card.md) lie in `tiny_world/`. `tiny-random` has random weights (a fixed seed) and draws coloured
noise: for tests of everything but the picture.
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from .config import TINY, TINY_RANDOM, Preset, TinyDecoderConfig
from .dit import WorldPlayDiT
from .errors import InputError
from .fingerprint import fingerprint
from .picture import open_picture
from .text import ByteTextEncoder
from .vae import TinyDecoder, WanVAE
from .weights import load_dit, load_vae
from .weights.random import randomise

FOLDER = Path(__file__).with_name("tiny_world")
NETWORK = FOLDER / "tiny_world.safetensors"
VAE = FOLDER / "tiny_world_vae.safetensors"

FIRST_FRAMES = 8
"""Pictures that ship with the trained world, of scenes it was not trained on."""

SCENE = 3
"""Of them, the one to start from: a courtyard with a column that a turn to the right loses from sight."""

NOT_TRAINED = (
    f"the trained weights of the built-in world are missing from {FOLDER}, so `tiny-random` takes its place and draws "
    "coloured noise: install the package again, or train them with training/tiny_world"
)
"""Said where `preset` had to choose the other preset."""

_SEED = 2026


def preset(name: str) -> Preset:
    """`TINY` or `TINY_RANDOM`, by name; `TINY_RANDOM` for both where the trained weights are absent.

    Raises:
        InputError: another name.
    """
    if name not in (TINY.name, TINY_RANDOM.name):
        raise InputError(f"The built-in models are {TINY.name} and {TINY_RANDOM.name}, got {name!r}.")
    return TINY if name == TINY.name and NETWORK.is_file() and VAE.is_file() else TINY_RANDOM


def dit(of: Preset) -> WorldPlayDiT:
    """The transformer of a built-in preset, float32 on the CPU."""
    if of is TINY:
        return load_dit(NETWORK, dtype=torch.float32)
    network = randomise(WorldPlayDiT(TINY_RANDOM.dit), _SEED)
    network.fingerprint = fingerprint(network.state_dict())
    return network


def vae(of: Preset) -> WanVAE:
    """The VAE of a built-in preset, float32 on the CPU."""
    if of is TINY:
        return load_vae(VAE, dtype=torch.float32)
    module = randomise(WanVAE(TINY_RANDOM.vae), _SEED + 1)
    module.fingerprint = fingerprint(module.state_dict())
    return module


def decoder(of: Preset) -> TinyDecoder:
    """A TAEHV-style decoder for the latents of a built-in preset, float32 on the CPU.

    Raises:
        InputError: the trained world, which has none.
    """
    if of is TINY:
        raise InputError(
            "The built-in world has no tiny decoder, its VAE is small enough: leave out --decoder tiny, or try it with "
            "--preset tiny-random."
        )
    return randomise(TinyDecoder(TinyDecoderConfig(latent_channels=TINY_RANDOM.vae.z_dim)), _SEED + 2)


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
