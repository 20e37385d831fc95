"""Training checkpoints → `hyworld/tiny_world/`: `python -m training.tiny_world.export`.

Writes the network under the released (diffusers-style) names, the VAE under its native names, first frames of held-out
scenes and `card.md`. Several networks can be averaged; NOTES.md, run 9, says why.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hyworld import builtin
from hyworld.dit import WanDiT
from hyworld.vae import TinyDecoder
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

NETWORK, VAE_FILE = builtin.NETWORK.name, builtin.VAE.name

CARD = """# The tiny world

A WorldPlay network ({parameters:.1f} M parameters) and its VAE ({vae_parameters:.1f} M), small enough for a laptop's
CPU, that walk through rooms and courtyards at {height}x{width}: what `hyworld generate` and `hyworld.load()` run
without arguments.

**How it was made.** By `training/tiny_world` in this repository, from nothing, on pictures of a procedural renderer
alone (`scenes.py`): no picture, weights or text of others. The network took {steps:,} steps ({minutes}) on walks of
{latents} latents through {scenes:,} scenes, the last at a loss of {loss:.3f}{mix}. Runs and outcomes:
`training/tiny_world/NOTES.md`; what it shows, measured: `docs/tiny_world.md`.

**The tiny decoder** ({decoder_parameters:.1f} M) draws the VAE's latents in a small part of its time, for walking live.
It was trained with the network and the VAE as they ship, on further walks: rendered ones and the network's own.

**What it cannot do.** Draw anything but such rooms; understand prompts (no prompt changes anything); move things; run
well at other sizes. What no picture has shown yet, it makes up as coloured patches rather than as a room; edges of what
the first one showed waver, and fine patterns fade.

**First frames.** `first_frames/0.png` to `{last}.png`: scenes from the seed {seed} on, none of which was trained on.

**Licence.** Apache-2.0, as the whole project.

| file | sha256 |
| --- | --- |
{files}
"""


def write(state: Mapping[str, Tensor], path: Path, config: Mapping[str, Any]) -> None:
    """Write a float16 safetensors file with `config` in its metadata."""
    specs = {name: (torch.float16, tuple(tensor.shape)) for name, tensor in state.items()}
    with SafetensorsWriter(path, specs, {"config": json.dumps(config), "licence": "Apache-2.0"}) as writer:
        for name, tensor in state.items():
            writer.write(name, tensor.half())


def mixed(folders: Sequence[Path], shares: Sequence[float]) -> WanDiT:
    """The weighted mean of the trained networks in `folders`; `shares` add up to 1."""
    networks = [load_trained_network(folder, torch.device("cpu"), torch.float32) for folder in folders]
    states = [network.state_dict() for network in networks]
    mix = {
        name: sum((share * state[name] for share, state in zip(shares, states, strict=True)), torch.zeros(()))
        for name in states[0]
    }
    networks[0].load_state_dict(mix)
    return networks[0]


def export(
    folders: Sequence[Path], out: Path, *, shares: Sequence[float] = (1.0,), first_frames: int = builtin.FIRST_FRAMES
) -> str:
    """Write everything and return the card. The VAE is the last folder's.

    Raises:
        FileNotFoundError: one of `folders` lacks a trained network, or the last a VAE.
        ValueError: `shares` are not one for each folder, adding up to 1.
    """
    if len(shares) != len(folders) or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"Give one share for each of the {len(folders)} folders, adding up to 1; got {list(shares)}.")
    network = mixed(folders, shares)
    folder = folders[-1]
    vae = load_trained_vae(folder, torch.device("cpu"), torch.float32)
    out.mkdir(parents=True, exist_ok=True)
    # The network was trained without prompts: zero the text embedding, so that a prompt changes nothing.
    network.get_parameter("text_embedding.0.weight").data.zero_()
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
    trained = shards[1]
    card = CARD.format(
        parameters=_millions(network),
        vae_parameters=_millions(vae),
        decoder_parameters=_millions(TinyDecoder(builtin.DECODER_SIZES, device="meta")),
        height=SIZE[0],
        width=SIZE[1],
        steps=trained["step"],
        minutes=", ".join(f"{stage}: {minutes:.0f} minutes" for stage, minutes in trained["minutes"].items()),
        latents=PATH_LATENTS,
        scenes=trained["next_seed"],
        loss=trained["loss"],
        mix="" if len(folders) == 1 else f"; these weights are the mean of {len(folders)} of its moments",
        last=first_frames - 1,
        seed=HELD_OUT_SEED,
        files="\n".join(
            f"| `{file.name}` | `{hashlib.sha256(file.read_bytes()).hexdigest()}` |"
            for file in (out / NETWORK, out / VAE_FILE, out / builtin.DECODER.name)
            if file.is_file()
        ),
    )
    (out / "card.md").write_text(card)
    return card


def _millions(module: nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="Turn training checkpoints into files for the ordinary loaders.")
    parser.add_argument("--checkpoint", type=Path, nargs="+", default=[Path("training_ckpt")])
    parser.add_argument("--shares", type=float, nargs="+", default=[1.0], help="of each checkpoint's network")
    parser.add_argument("--out", type=Path, default=builtin.FOLDER)
    options = parser.parse_args()
    print(export(options.checkpoint, options.out, shares=options.shares))


if __name__ == "__main__":
    main()
