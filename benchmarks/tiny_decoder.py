"""Compares the built-in world's tiny decoder with its full one: `python -m benchmarks.tiny_decoder`.

Pictures, on held-out scenes: rendered walks, encoded, decoded and compared with what was rendered; the network's walks,
decoded by both. Times, on this computer's CPU: one chunk's decoding. docs/tiny_world.md has the numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyworld import builtin
from hyworld.config import CHUNK_LATENTS, TINY
from hyworld.vae import StreamingDecoder, TinyDecoder, Wan22VAE
from training.tiny_world.decoder import Walks, levels
from training.tiny_world.evaluate import decoded
from training.tiny_world.pictures import save_sheet
from training.tiny_world.sizes import HELD_OUT_SEED, LATENT_SIZE, Z_DIM

AT_ONCE = 8
"""Scenes walked together; the network walks them along one random path, each group along another."""

WARM_UP = 3
"""Chunks decoded before the clock runs."""


def pictures(scenes: int, latents: int, device: torch.device, sheet: Path) -> dict[str, Any]:
    """PSNR in dB and sharpness over `scenes` held-out walks of `latents`, and a `sheet` of the first two.

    Rows of the sheet for each of the two: rendered, full, tiny; the network's walk by full, tiny.
    """
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    network, vae = builtin.dit(TINY).to(device, dtype), builtin.vae(TINY).to(device, dtype)
    tiny = builtin.decoder(TINY).to(device, dtype)
    walks = Walks(HELD_OUT_SEED, network, vae, latents=latents)
    measured: dict[str, list[float]] = {}
    for begin in range(0, scenes, AT_ONCE):
        count = min(AT_ONCE, scenes - begin)
        of_rendered, truth = walks.rendered(count)
        full, ours = by_both(vae, tiny, of_rendered)
        of_network, _ = walks.generated(count)
        walked_full, walked_ours = by_both(vae, tiny, of_network)
        for name, values in {
            "rendered_tiny_against_truth": psnrs(ours, truth),
            "rendered_full_against_truth": psnrs(full, truth),
            "walked_tiny_against_full": psnrs(walked_ours, walked_full),
            "rendered_sharpness_tiny": sharpness(ours) / sharpness(truth),
            "rendered_sharpness_full": sharpness(full) / sharpness(truth),
            "walked_sharpness_tiny_to_full": sharpness(walked_ours) / sharpness(walked_full),
        }.items():
            measured.setdefault(name, []).extend(values.tolist())
        if not begin:
            rows = [video[:2, :, 8::8] for video in (truth, full, ours, walked_full, walked_ours)]
            save_sheet(torch.stack(rows, dim=1).flatten(0, 1).float() / 127.5 - 1, sheet)
    return {name: summary(values) for name, values in measured.items()}


def by_both(vae: Wan22VAE, tiny: TinyDecoder, latents: Tensor) -> tuple[Tensor, Tensor]:
    """Frames uint8 `[S, 3, F, H, W]` of the full and of the tiny decoder."""
    return levels(decoded(vae, latents)), levels(decoded(tiny, latents))


def psnrs(some: Tensor, others: Tensor) -> Tensor:
    """PSNR `[S]` in dB of uint8 videos `[S, 3, F, H, W]`."""
    errors = torch.stack([(a.float() - b.float()).square().mean() for a, b in zip(some, others, strict=True)])
    return 10 * torch.log10(255**2 / errors.clamp(min=1e-3))


def sharpness(videos: Tensor) -> Tensor:
    """Mean difference `[S]` of neighbouring pixels' luminance in videos `[S, 3, F, H, W]`."""
    luminance = videos.float().mean(dim=1)
    return luminance.diff(dim=2).abs().mean(dim=(1, 2, 3)) + luminance.diff(dim=3).abs().mean(dim=(1, 2, 3))


def summary(values: list[float]) -> dict[str, float]:
    return {
        "mean": round(statistics.mean(values), 2),
        "lowest": round(min(values), 2),
        "highest": round(max(values), 2),
    }


def times(chunks: int) -> dict[str, dict[str, float]]:
    """Milliseconds of one chunk's decoding on the CPU, by full and tiny, with one thread and with two, in float32."""
    decoders: dict[str, StreamingDecoder] = {"full": builtin.vae(TINY), "tiny": builtin.decoder(TINY)}
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(WARM_UP + chunks, 1, Z_DIM, CHUNK_LATENTS, *LATENT_SIZE, generator=generator)
    result = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for name, decoder in decoders.items():
            cache, took = None, []
            for chunk in latents:
                begun = time.perf_counter()
                _, cache = decoder.decode_stream(chunk, cache)
                took.append(1000 * (time.perf_counter() - begun))
            took = took[WARM_UP:]
            result[f"{name}, {threads} threads"] = {
                "least": round(min(took), 1),
                "median": round(statistics.median(took), 1),
            }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the built-in world's tiny decoder with its full one.")
    parser.add_argument("--scenes", type=int, default=48)
    parser.add_argument("--latents", type=int, default=20, help="of each walk")
    parser.add_argument("--chunks", type=int, default=30, help="decoded for the times")
    parser.add_argument("--only", choices=("pictures", "times"))
    parser.add_argument("--out", type=Path, default=Path("tiny_decoder_benchmark"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    result: dict[str, Any] = {}
    with torch.inference_mode():
        if options.only != "times":
            result["pictures"] = pictures(options.scenes, options.latents, device, options.out / "tiny_decoder.png")
        if options.only != "pictures":
            result["load"] = os.getloadavg()[0]
            result["times"] = times(options.chunks)
    for name, measured in result.items():
        print(f"{name}: {json.dumps(measured)}", flush=True)
    (options.out / "tiny_decoder.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
