"""A walk that lasts, on a GPU: `python -m benchmarks.lasting` (704x1280, random weights, bfloat16).

Prints whether a walk saved, loaded and rewound has the same future as one walked at once, and how time and memory of a
chunk change over a long walk.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from hyworld import Chunk, Pipeline, World
from hyworld.bench.measure import Memory
from hyworld.bench.workload import Setup, source_for, start, walk


def walked(pipeline: Pipeline, world: World, setup: Setup, chunks: int) -> list[Chunk]:
    """The next chunks of the benchmark's path from `world` on, which stands on it."""
    parts = walk(setup.chunks).split(4)
    return list(pipeline.walk(world, parts[world.chunks : world.chunks + chunks]))


def differ(one: list[Chunk], other: list[Chunk]) -> str:
    """The largest relative difference of latents and the largest of frames, of two walks."""
    latents = max(
        float((a.latents.float() - b.latents.float()).norm() / b.latents.float().norm())
        for a, b in zip(one, other, strict=True)
    )
    pixels = max(int((_frames(a) - _frames(b)).abs().max()) for a, b in zip(one, other, strict=True))
    return f"latents {latents:.1e}, pixels {pixels} of 255"


def _frames(chunk: Chunk) -> Tensor:
    assert chunk.frames is not None
    return chunk.frames.int()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=120, help="length of the long walk")
    chunks = parser.parse_args().chunks
    source = source_for("wan_5b", "cuda", "auto", None, None, None)
    setup, memory = Setup((704, 1280), chunks), Memory(source.device)
    pipeline = source.build(setup)
    begun = start(pipeline, source, setup)

    whole = walked(pipeline, begun, setup, 8)
    print("the same walk twice:", differ(walked(pipeline, begun, setup, 8), whole))
    with tempfile.TemporaryDirectory() as folder:
        file = whole[2].world.save(Path(folder) / "three.world")
        loaded = World.load(file)
        print(f"three chunks: {file.stat().st_size / 1e6:.1f} MB; loaded the same: {loaded == whole[2].world}")
    print("saved after 3, loaded, 5 more:", differ(walked(pipeline, loaded, setup, 5), whole[3:]))
    print("rewound to 3, 5 again:", differ(walked(pipeline, whole[-1].world.at_chunk(3), setup, 5), whole[3:]))
    print("decoded again:", differ(list(pipeline.replay(whole[-1].world)), whole))
    del whole, loaded

    times, sizes, world = [], [], begun
    torch.cuda.synchronize()
    last = time.perf_counter()
    for chunk in pipeline.walk(begun, walk(chunks)):
        world = chunk.world
        torch.cuda.synchronize()
        times.append(time.perf_counter() - last)
        sizes.append(memory.now() or 0.0)
        last = time.perf_counter()
    for name, span in (("8-17", slice(7, 17)), (f"{chunks - 9}-{chunks}", slice(-10, None))):
        print(f"chunks {name}: {statistics.median(times[span]):.3f} s each, {max(sizes[span]):.2f} GB allocated")
    ratio = statistics.median(times[-10:]) / statistics.median(times[7:17])
    print(f"time {ratio:.3f}, memory {max(sizes[-10:]) / max(sizes[7:17]):.3f}, peak {memory.peak() or 0:.2f} GB")
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        file = world.save(Path(folder) / "long.world")
        seconds = time.perf_counter() - began
        print(f"{world.chunks} chunks: {file.stat().st_size / 1e6:.1f} MB, saved in {seconds:.2f} s")
        file = world.at_chunk(60).save(Path(folder) / "sixty.world")
        print(f"60 chunks: {file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
