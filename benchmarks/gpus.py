"""One walk on one GPU and shared by several, one after the other: time, memory, and how far the results differ.

torchrun --nproc-per-node 2 -m benchmarks.gpus [--size 704 1280] [--chunks 9] [--only exact] [--recipe dreamx_5b]

Random weights. Of the shared walk: each chunk's latents against those of one GPU, frames by their largest difference
in levels of 255, and whether the same walk twice is the same bit for bit.
"""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from hyworld.bench.measure import GB, Memory, attach, built, settled_from, time_chunk
from hyworld.bench.workload import Setup, Source, path_of, source_for, start
from hyworld.modes import Modes
from hyworld.parallel import follow_if_told, leave, ranks
from hyworld.parallel.lead import SharedNetwork
from hyworld.parallel.together import together
from hyworld.pipeline import Pipeline
from hyworld.walk import Chunk

COUNTED = 3
"""Chunks that count if nobody says how many there are."""

MODES: dict[str, tuple[Modes, str]] = {
    "exact": (Modes(), "full"),
    "exact, graphs off": (Modes(graphs="off"), "full"),
    "fp8 linears, tiny decoder": (Modes(linears="fp8"), "tiny"),
    "fp8, tiny decoder": (Modes(linears="fp8", attention="fp8"), "tiny"),
}


class Kept:
    """A walk that remembers its chunks."""

    def __init__(self, chunks: Iterator[Chunk]) -> None:
        self.chunks: list[Chunk] = []
        self._walk = chunks

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        self.chunks.append(next(self._walk))
        return self.chunks[-1]


def peak() -> float:
    """GB that torch held at most."""
    return torch.cuda.max_memory_allocated() / GB if torch.cuda.is_available() else 0.0


def forget() -> None:
    """Let `peak` count from here."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def chunks_of(pipeline: Pipeline, setup: Setup) -> int:
    return setup.chunks or settled_from(pipeline.walker.recipe) + COUNTED


def walked(pipeline: Pipeline, source: Source, setup: Setup) -> Iterator[Chunk]:
    """The walk that is measured."""
    chunks = chunks_of(pipeline, setup)
    return pipeline.walk(start(pipeline, source, setup), path_of(pipeline, chunks), chunks)


def measured(pipeline: Pipeline, source: Source, setup: Setup) -> tuple[dict[str, Any], list[Chunk]]:
    """Medians of the chunks with a full memory, and all chunks."""
    network = pipeline.walker.network
    crew = network.crew if isinstance(network, SharedNetwork) else None
    probe, memory = attach(pipeline), Memory(torch.device(source.device.type))
    warm = settled_from(pipeline.walker.recipe)
    kept = Kept(walked(pipeline, source, setup))
    times = [time_chunk(kept, probe, memory) for _ in range(warm)]
    (crew.ask if crew else lambda question: question())(forget)
    times += [time_chunk(kept, probe, memory) for _ in range(warm, chunks_of(pipeline, setup))]
    settled = times[warm:]
    stages = {stage: round(median(time.stages_ms[stage] for time in settled), 1) for stage in settled[0].stages_ms}
    peaks = [max(time.peak_gb or 0.0 for time in settled)]
    if crew is not None:
        peaks = [max(peaks), *crew.ask(peak)[1:]]
    return {
        "chunk_ms": round(median(time.ms for time in settled), 1),
        "frames": settled[0].frames,
        "stages_ms": stages,
        "peak_gb": [round(one, 2) for one in peaks],
    }, kept.chunks


def compared(one: list[Chunk], several: list[Chunk]) -> dict[str, Any]:
    """How far the chunks of a shared walk are from those of one GPU."""
    latents, levels, shares = [], [], []
    for a, b in zip(one, several, strict=True):
        assert a.frames is not None
        assert b.frames is not None
        latents.append(float((b.latents.float() - a.latents.float()).norm() / a.latents.float().norm()))
        difference = (a.frames.int() - b.frames.int()).abs()
        levels.append(int(difference.max()))
        shares.append(round(float((difference > 1).float().mean()), 6))
    return {"latents": [round(value, 6) for value in latents], "levels": levels, "share_above_1_level": shares}


def redecoded(pipeline: Pipeline, chunks: list[Chunk]) -> dict[str, Any]:
    """The frames of one GPU's latents, decoded by all."""
    worst, shares = 0, []
    for chunk, again in zip(chunks, pipeline.replay(chunks[-1].world), strict=True):
        assert chunk.frames is not None
        assert again.frames is not None
        difference = (chunk.frames.int() - again.frames.int()).abs()
        worst = max(worst, int(difference.max()))
        shares.append(round(float((difference > 0).float().mean()), 6))
    return {"levels": worst, "share_that_differs": shares}


def run(source: Source, setup: Setup) -> dict[str, Any]:
    """`setup` on one GPU, then on all, twice."""
    alone, one = measured(built(source, setup, device=source.device), source, setup)
    gc.collect()
    if source.device.type == "cuda":
        torch.cuda.empty_cache()
    pipeline = together(built, source, setup, device=source.device)
    shared, several = measured(pipeline, source, setup)
    twice = all(
        torch.equal(a.latents, b.latents) and torch.equal(_frames(a), _frames(b))
        for a, b in zip(several, walked(pipeline, source, setup), strict=True)
    )
    return {
        "one": alone,
        "shared": shared,
        "time_ratio": round(shared["chunk_ms"] / alone["chunk_ms"], 4),
        "memory_ratio": round(max(shared["peak_gb"]) / max(alone["peak_gb"][0], 1e-9), 4),
        "frames_per_second": round(1000 * shared["frames"] / shared["chunk_ms"], 2),
        "difference": compared(one, several),
        "decoder": redecoded(pipeline, one[:3]),
        "twice_the_same": twice,
    }


def _frames(chunk: Chunk) -> torch.Tensor:
    assert chunk.frames is not None
    return chunk.frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=2, default=(704, 1280))
    parser.add_argument("--chunks", type=int, default=0)
    parser.add_argument("--recipe")
    parser.add_argument("--only", choices=list(MODES), action="append")
    parser.add_argument("--preset", default="auto")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    follow_if_told(shares=True)
    source = source_for(options.preset, "auto", "auto", None, None, None, options.recipe)
    if source.device.type == "cuda":
        source = replace(source, device=torch.device("cuda", 0))
    results: dict[str, Any] = {"gpus": ranks(), "size": list(options.size)}
    for name in options.only or ("exact", "fp8, tiny decoder"):
        modes, decoder = MODES[name]
        results[name] = run(source, Setup(tuple(options.size), options.chunks, modes, decoder))
        print(json.dumps({name: results[name]}), flush=True)
        if options.json is not None:
            options.json.write_text(json.dumps(results, indent=1) + "\n")
    leave(0)


if __name__ == "__main__":
    main()
