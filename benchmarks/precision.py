"""How far rounding carries: latents of a walk in bfloat16 with our kernels, against PyTorch alone and float32.

    python -m benchmarks.precision [--chunks 8] [--size 704x1280] [--preset wan_5b] [--output result.json]

The same random weights, drawn in bfloat16, run three ways from the same noise: with the fastest exact kernels, with
PyTorch alone, and (the first chunk) in float32. Each chunk builds on the ones before, so differences add up along
the walk. Results: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.baseline import relative
from hyworld import Pipeline
from hyworld.bench.measure import release
from hyworld.bench.report import environment
from hyworld.bench.workload import Setup, Source, start, walk
from hyworld.cli.console import parse_size
from hyworld.config import PRESETS
from hyworld.dit import WanDiT
from hyworld.modes import Modes
from hyworld.pipeline import pick_device
from hyworld.walk import Walker


def latents(pipeline: Pipeline, source: Source, setup: Setup) -> list[Tensor]:
    """Latents of every chunk; nothing is decoded."""
    world = start(pipeline, source, setup)
    pipeline.walker.decoding = None
    return [chunk.latents for chunk in pipeline.walk(world, walk(setup.chunks))]


def in_float32(pipeline: Pipeline, source: Source) -> Pipeline:
    """The same weights in float32; the picture is still encoded in bfloat16, so that all start alike."""
    network, decoding = pipeline.walker.network, pipeline.walker.decoding
    assert isinstance(network, WanDiT)
    walker = Walker(network.float(), decoding=decoding, device=source.device, dtype=torch.float32)
    return Pipeline(walker, pipeline.vae, pipeline.size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=8)
    parser.add_argument("--size", default="704x1280")
    parser.add_argument("--preset", choices=PRESETS, default="wan_5b")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    source = Source(PRESETS[options.preset], pick_device("auto"), torch.bfloat16)
    plain = Setup(parse_size(options.size), options.chunks, Modes(kernels="plain", graphs="off"))
    fast = Setup(plain.size, plain.chunks)

    pipeline = source.build(plain)
    decoding = pipeline.walker.decoding
    want = latents(pipeline, source, plain)
    pipeline.walker.decoding = decoding
    exact = latents(in_float32(pipeline, source), source, Setup(plain.size, 1))
    del pipeline, decoding
    release(source.device)
    got = latents(source.build(fast), source, fast)
    made = slice(1, None)  # the walk's first latent is given
    result = {
        "environment": environment(source.device),
        "preset": options.preset,
        "size": list(plain.size),
        "fast_from_plain_per_chunk": [
            round(relative(a[:, :, made], b[:, :, made]) if i == 0 else relative(a, b), 6)
            for i, (a, b) in enumerate(zip(got, want, strict=True))
        ],
        "first_chunk_from_float32": {
            name: round(relative(some[0][:, :, made], exact[0][:, :, made]), 6)
            for name, some in (("fast", got), ("plain", want))
        },
    }
    text = json.dumps(result, indent=2) + "\n"
    print(text, end="")
    if options.output:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
