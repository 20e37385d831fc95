"""One walk on one GPU and shared by several, one after the other: time, memory, and how far the results differ.

torchrun --nproc-per-node 2 -m benchmarks.gpus [--size 704 1280] [--chunks 9] [--only exact] [--recipe dreamx_5b]
    [--split off read]

Random weights. Of the shared walk, for each way of splitting them: each chunk's latents against those of one GPU and
of the first way, frames by their largest difference in levels of 255; of the last, whether the same walk twice is the
same bit for bit. Memory: what torch holds at most while chunks with a full memory are made, and in brackets what the
processes hold of the GPUs, with freed memory, recorded forwards and CUDA itself.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, get_args

import torch

from hyworld.bench.measure import GB, Memory, attach, built, release, settled_from, time_chunk
from hyworld.bench.workload import Setup, Source, path_of, source_for, start
from hyworld.modes import Modes
from hyworld.parallel import follow_if_told, leave, ranks
from hyworld.parallel.lead import SharedNetwork
from hyworld.parallel.parts import uncounted_bytes
from hyworld.parallel.split import SplitChoice
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


class Held(NamedTuple):
    """GB of a GPU: at most in tensors, and in all."""

    peak: float
    taken: float


def held() -> Held:
    """By this process."""
    if not torch.cuda.is_available():
        return Held(0.0, 0.0)
    free, total = torch.cuda.mem_get_info()
    peak = torch.cuda.max_memory_allocated() + uncounted_bytes()
    return Held(round(peak / GB, 2), round((total - free) / GB, 2))


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
    first = held()._replace(peak=max(time.peak_gb or 0.0 for time in settled))
    return {
        "chunk_ms": round(median(time.ms for time in settled), 1),
        "frames": settled[0].frames,
        "stages_ms": stages,
        "gb": [first, *(crew.ask(held)[1:] if crew else ())],
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


def run(source: Source, setup: Setup, splits: Sequence[SplitChoice]) -> dict[str, Any]:
    """`setup` on one GPU, then on all, with weights split in each of these ways."""
    alone, one = measured(built(source, setup, device=source.device), source, setup)
    found: dict[str, Any] = {"one": alone}
    first: list[Chunk] | None = None
    for split in splits:
        release(source.device)
        pipeline = together(built, source, setup, device=source.device, split=split)
        shared, several = measured(pipeline, source, setup)
        first = first or several
        found[split] = shared | {
            "time_ratio": round(shared["chunk_ms"] / alone["chunk_ms"], 4),
            "memory_ratio": round(max(each.peak for each in shared["gb"]) / max(alone["gb"][0].peak, 1e-9), 4),
            "frames_per_second": round(1000 * shared["frames"] / shared["chunk_ms"], 2),
            "difference": compared(one, several),
            f"as_{splits[0]}": same(first, several),
        }
        if split == splits[-1]:
            found[split]["decoder"] = redecoded(pipeline, one[:3])
            found[split]["twice_the_same"] = same(several, walked(pipeline, source, setup))
        del pipeline
    return found


def same(a: Iterable[Chunk], b: Iterable[Chunk]) -> bool:
    """Bit for bit."""
    return all(
        torch.equal(x.latents, y.latents) and torch.equal(_frames(x), _frames(y)) for x, y in zip(a, b, strict=True)
    )


def _frames(chunk: Chunk) -> torch.Tensor:
    assert chunk.frames is not None
    return chunk.frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=2, default=(704, 1280))
    parser.add_argument("--chunks", type=int, default=0)
    parser.add_argument("--recipe")
    parser.add_argument("--only", choices=list(MODES), action="append")
    parser.add_argument("--split", choices=get_args(SplitChoice), nargs="+", default=("off", "auto"))
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
        results[name] = run(source, Setup(tuple(options.size), options.chunks, modes, decoder), options.split)
        print(json.dumps({name: results[name]}), flush=True)
        if options.json is not None:
            options.json.write_text(json.dumps(results, indent=1) + "\n")
    leave(0)


if __name__ == "__main__":
    main()
