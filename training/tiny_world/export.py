"""From training checkpoints to files that the ordinary loaders read, with their card.

`python -m training.tiny_world.export --checkpoint training_ckpt --out FOLDER` writes the network under the released
(diffusers-style) names, the VAE under its native names, first frames of held-out scenes, and `card.json`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyworld.weights import load_dit, load_vae
from hyworld.weights.remap import dit_to_diffusers
from hyworld.weights.writer import SafetensorsWriter

from .network import load_trained_network
from .optimise import load_shards
from .paths import FOCAL
from .pictures import save_sheet
from .scenes import draw_scenes, render
from .sizes import DIT, HELD_OUT_SEED, PATH_LATENTS, SIZE
from .vae import load_trained_vae

NETWORK, VAE_FILE = "tiny_world.safetensors", "tiny_world_vae.safetensors"


def write(state: Mapping[str, Tensor], path: Path, config: Mapping[str, Any]) -> None:
    """A safetensors file in float16 whose metadata says what its tensors' shapes do not."""
    specs = {name: (torch.float16, tuple(tensor.shape)) for name, tensor in state.items()}
    with SafetensorsWriter(path, specs, {"config": json.dumps(config), "licence": "Apache-2.0"}) as writer:
        for name, tensor in state.items():
            writer.write(name, tensor.half())


def export(folder: Path, out: Path, *, first_frames: int = 8) -> dict[str, Any]:
    """Write everything and return the card.

    Raises:
        FileNotFoundError: `folder` lacks a trained VAE or network.
    """
    cpu = torch.device("cpu")
    network = load_trained_network(folder, cpu, torch.float32)
    vae = load_trained_vae(folder, cpu, torch.float32)
    out.mkdir(parents=True, exist_ok=True)
    write(dit_to_diffusers(network.state_dict()), out / NETWORK, {"attention_head_dim": DIT.head_dim})
    statistics = {"latents_mean": vae.config.latents_mean, "latents_std": vae.config.latents_std}
    write(vae.state_dict(), out / VAE_FILE, statistics)
    assert load_dit(out / NETWORK).config == DIT
    assert load_vae(out / VAE_FILE).config == vae.config

    scenes = draw_scenes([HELD_OUT_SEED + i for i in range(first_frames)])
    pictures = render(scenes, scenes.start[:, None], FOCAL, SIZE)
    for i, picture in enumerate(pictures):
        save_sheet(picture[None], out / "first_frames" / f"{i}.png")

    shards = load_shards(folder, "network")
    assert shards is not None
    card = {
        "what": "A tiny WorldPlay (network and VAE) that walks through rooms and courtyards of a procedural renderer.",
        "size": SIZE,
        "made by": "training/tiny_world in this repository, on rendered scenes alone: no pictures of others",
        "training": {key: shards[1].get(key) for key in ("minutes", "step", "next_seed", "loss")},
        "walk length in training": PATH_LATENTS,
        "cannot": "Draw anything but such rooms, understand prompts, move things, or run at other sizes well.",
        "licence": "Apache-2.0",
        "sha256": {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in (NETWORK, VAE_FILE)},
    }
    (out / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    return card


def main() -> None:
    parser = argparse.ArgumentParser(description="Turn training checkpoints into files for the ordinary loaders.")
    parser.add_argument("--checkpoint", type=Path, default=Path("training_ckpt"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    print(json.dumps(export(options.checkpoint, options.out), indent=2))


if __name__ == "__main__":
    main()
