"""Speed and memory of a streaming Wan model: `python -m benchmarks.streaming_wan --recipe self_forcing --decoder tiny`.

Random weights of the released sizes, drawn on the GPU: the same cost as the real ones. Prints the wait for the first
chunk in a fresh process, the time of settled chunks (full window), frames per second and memory. docs/recipes.md has
the numbers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from hyworld.config import DiTConfig, TinyDecoderConfig, VAEConfig, Wan21VAEConfig
from hyworld.dit import WanDiT
from hyworld.fp8 import use_fp8
from hyworld.modes import Modes, fp8_rounding
from hyworld.pipeline import make_walker, pick_device
from hyworld.recipe_choice import adjusted
from hyworld.vae import StreamingDecoder, TinyDecoder, make_vae
from hyworld.walk import Recipe, Rolling, Words
from hyworld.walk.recipes import recipe as recipe_named
from hyworld.weights.random import randomise

SIZES = {
    "1.3b": {"num_heads": 12, "num_layers": 30, "ffn_dim": 8960},
    "14b": {"num_heads": 40, "num_layers": 40, "ffn_dim": 13824},
    "5b": {"num_heads": 24, "num_layers": 30, "ffn_dim": 14336},
}
"""Of the released networks, by their parameters."""

TEXT = (1, 512, 4096)


def network_config(recipe: Recipe, size: str) -> DiTConfig:
    channels = 16 if recipe.spatial_stride == 8 else 48
    image_channels = channels + 4 if recipe.picture == "channels" else 0
    clip_dim = 1280 if recipe.name == "wan21_i2v" else 0
    return DiTConfig(
        **SIZES[size], latent_channels=channels, cameras=False, image_channels=image_channels, clip_dim=clip_dim
    )


def measure(
    recipe: Recipe, size: str, height: int, width: int, *, chunks: int, decoder: str, modes: Modes
) -> dict[str, Any]:
    """One walk; times in seconds."""
    device, dtype = pick_device("cuda"), torch.bfloat16
    config = network_config(recipe, size)
    is_21 = recipe.spatial_stride == 8
    dit = randomise(WanDiT(config, device=device, dtype=dtype), 0, device=device)
    vae = randomise(make_vae(Wan21VAEConfig() if is_21 else VAEConfig(), device=device, dtype=dtype), 1, device=device)
    frames_from: StreamingDecoder = vae
    if decoder == "tiny":
        sizes = TinyDecoderConfig(latent_channels=config.latent_channels, patch=1 if is_21 else 2)
        frames_from = randomise(TinyDecoder(sizes, device=device, dtype=dtype), 2, device=device)
    if (rounding := fp8_rounding(modes)) is not None:
        use_fp8(dit, rounding)
    second = dit if recipe.boundary is not None else None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    walker = make_walker(dit, vae, frames_from, modes, device, dtype, recipe=recipe, second=second)
    stride = recipe.spatial_stride
    world = walker.begin(
        torch.randn(TEXT),
        latent_size=(height // stride, width // stride),
        negative=Words(torch.randn(TEXT)) if recipe.is_guided else None,
    )
    times, frames = [], []
    for chunk in walker.walk(world, None, chunks):
        assert chunk.frames is not None
        now = time.perf_counter()
        times.append(now - began)
        frames.append(len(chunk.frames))
        began = now
    memory = recipe.memory
    full = -(-(memory.window + memory.sink) // recipe.chunk_latents) if isinstance(memory, Rolling) else 4
    settled = times[full + 2 :]
    result: dict[str, Any] = {
        "recipe": recipe.name, "network": size, "size": [height, width], "decoder": decoder, "linears": modes.linears,
        "attention": modes.attention, "graphs": modes.graphs, "first_chunk": times[0],
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9,
        "frames": frames[-1], "times": times,
    }  # fmt: skip
    if settled:
        median = statistics.median(settled)
        result |= {"settled": median, "frames_per_second": frames[-1] / median}
        late = settled[-10:]
        result["last_over_first"] = statistics.median(late) / statistics.median(settled[:10])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="self_forcing")
    parser.add_argument("--network", choices=SIZES, default="1.3b")
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--steps", type=int, help="instead of the recipe's, where it leaves them open")
    parser.add_argument("--decoder", choices=("full", "tiny"), default="full")
    parser.add_argument("--linears", choices=("exact", "fp8"), default="exact")
    parser.add_argument("--attention", choices=("auto", "fp8"), default="auto")
    parser.add_argument("--graphs", choices=("auto", "off"), default="auto")
    parser.add_argument("--out", type=Path, help="JSON file, one line more")
    asked = parser.parse_args()
    recipe = adjusted(recipe_named(asked.recipe), steps=asked.steps)
    height, width = asked.size or recipe.size
    modes = Modes(attention=asked.attention, linears=asked.linears, graphs=asked.graphs)
    result = measure(recipe, asked.network, height, width, chunks=asked.chunks, decoder=asked.decoder, modes=modes)
    line = {key: round(value, 4) if isinstance(value, float) else value for key, value in result.items()}
    print(json.dumps({key: value for key, value in line.items() if key != "times"}), flush=True)
    if asked.out is not None:
        with asked.out.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
