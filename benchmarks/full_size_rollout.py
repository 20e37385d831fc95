"""A full-size WAN-5B rollout with random weights, end to end, on one GPU.

    python benchmarks/full_size_rollout.py --chunks 6 --output result.json

Prints the time of every chunk, the peak memory, and how far bfloat16 is from float32 in the first chunk.
Random weights have the cost of the real ones; only the picture means nothing. Results: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hyworld import RolloutEngine, Trajectory
from hyworld.config import VAE_SPATIAL_STRIDE, WAN_5B
from hyworld.dit import WorldPlayDiT
from hyworld.picture import to_video_tensor
from hyworld.vae import WanVAE
from hyworld.weights.random import randomise

PATH = "w-7, right-8, w-8, left-8, s-8"


def roll(model: WorldPlayDiT, vae: WanVAE | None, first: torch.Tensor, text: torch.Tensor, chunks: int) -> dict:
    """Run `chunks` chunks in the model's dtype; returns their latents, times and frame counts."""
    dtype = next(model.parameters()).dtype
    engine = RolloutEngine(model, decoder=vae, device="cuda", dtype=dtype)
    engine.start(text, first_frame=first, seed=1)
    torch.cuda.reset_peak_memory_stats()
    latents, seconds, frames, memory = [], [], 0, []
    path = Trajectory.from_tokens(PATH).require_chunks(chunks)
    for i in range(path.chunks):
        torch.cuda.synchronize()
        began = time.perf_counter()
        chunk = engine.step(path.chunk(i))
        torch.cuda.synchronize()
        seconds.append(round(time.perf_counter() - began, 3))
        latents.append(chunk.latents.cpu())
        memory.append(len(chunk.memory_frames))
        frames += 0 if chunk.frames is None else len(chunk.frames)
    return {
        "latents": latents,
        "seconds_per_chunk": seconds,
        "memory_frames": memory,
        "frames": frames,
        "finite": bool(all(torch.isfinite(x).all() for x in latents)),
        "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=6)
    parser.add_argument("--size", default="704x1280")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    height, width = (int(side) for side in options.size.split("x"))

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    vae = randomise(WanVAE(WAN_5B.vae, device="cuda"), 1, device="cuda").to(torch.bfloat16)
    generator = np.random.default_rng(0)
    picture = Image.fromarray(generator.integers(0, 255, (90, 160, 3), dtype=np.uint8))
    with torch.no_grad():
        first = vae.encode(to_video_tensor(picture, height, width).to("cuda", torch.bfloat16)).float()
    assert first.shape[-2:] == (height // VAE_SPATIAL_STRIDE, width // VAE_SPATIAL_STRIDE)
    text = torch.zeros(1, WAN_5B.text_tokens, WAN_5B.dit.text_dim)
    text[:, :40] = torch.randn(1, 40, WAN_5B.dit.text_dim, generator=torch.Generator().manual_seed(2)) * 0.1

    # The same weights for both: drawn in float32, rounded to bfloat16, run in float32 and in bfloat16.
    model = randomise(WorldPlayDiT(WAN_5B.dit, device="cuda"), 0, device="cuda").to(torch.bfloat16)
    half = roll(model, vae, first, text, options.chunks)
    exact = roll(model.float(), None, first, text, 1)

    got, want = half.pop("latents"), exact.pop("latents")
    held_out = slice(1, None)  # the first latent is given, equal by construction
    difference = (got[0] - want[0])[:, :, held_out].norm() / want[0][:, :, held_out].norm()
    result = {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "size": options.size,
        "bfloat16": half,
        "float32_first_chunk": exact,
        "first_chunk_relative_difference": round(float(difference), 5),
    }
    text_out = json.dumps(result, indent=2)
    print(text_out)
    if options.output:
        options.output.write_text(text_out + "\n")


if __name__ == "__main__":
    main()
