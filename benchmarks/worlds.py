"""What kept worlds take on a GPU, and what a branch costs: `python -m benchmarks.worlds` (704x1280, random weights)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from hyworld import Chunk
from hyworld.bench.measure import Memory
from hyworld.bench.workload import Setup, source_for, start, walk


def timed(what: str, chunks: Iterator[Chunk], memory: Memory) -> Chunk:
    torch.cuda.synchronize()
    begun = time.perf_counter()
    chunk = next(chunks)
    torch.cuda.synchronize()
    print(f"{what}: {time.perf_counter() - begun:.2f} s, {memory.now():.2f} GB allocated, peak {memory.peak():.2f} GB")
    return chunk


def main() -> None:
    source = source_for("wan_5b", "cuda", "auto", None, None, None)
    setup, memory = Setup((704, 1280), 12), Memory(source.device)
    pipeline = source.build(setup)
    chunks = pipeline.walk(start(pipeline, source, setup), walk(setup.chunks))
    kept = [timed(f"chunk {i}", chunks, memory).world for i in range(setup.chunks)]
    on = timed("walk on", pipeline.walk(kept[-1], "w-4"), memory)
    timed("branch after 4 chunks, cache made again", pipeline.walk(kept[3], "w-4"), memory)
    timed("another from there, cache parked", pipeline.walk(kept[3], "s-4"), memory)
    timed("back to the first walk, cache parked", pipeline.walk(on.world, "w-4"), memory)


if __name__ == "__main__":
    main()
