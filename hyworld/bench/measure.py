"""Times a walk by chunk and by stage; docs/benchmarks.md defines the stages."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch

from ..errors import InputError
from ..modes import wants_triton
from ..parallel import ranks
from ..parallel.parts import uncounted_bytes
from ..parallel.split import SplitChoice
from ..parallel.together import together
from ..pipeline import Pipeline
from ..walk import Chunk, Recipe, Rolling
from .probes import DECODE, PREFILL, STEP, Clock, Probe, TimedDecoder, TimedNetwork, step_name
from .workload import Setup, Source, path_of, start

Say = Callable[[str], None]
WARM_UPS = 2
"""Chunks with a full memory before the first that counts: every kernel has then run at that size."""

MEASURED = 8
"""Chunks that count if nobody says how many."""

WARM_STARTS = 3
FLAT_CHUNKS = (8, 60)
"""Indices of the chunks that flatness compares."""

FLAT_REACH = 2
"""Flatness compares medians over this many chunks either side of the two: single chunks are noisy."""

GB = 1e9


@dataclass(frozen=True)
class ChunkTimes:
    """One chunk; `peak_gb` is torch's peak allocation during it, None off CUDA."""

    index: int
    memory_latents: int
    frames: int
    ms: float
    peak_gb: float | None
    stages_ms: dict[str, float]


@dataclass(frozen=True)
class Run:
    """Result of one setup; docs/benchmarks.md describes the fields.

    Attributes:
        first_in_process: False if an earlier run had already built kernels, which makes `cold_s` too small.
        first_frames: seconds from the picture to the first chunk's frames on the host, `cold_s` and `warm_s`.
        memory: GB; off CUDA only `keys_values_gb` is known, the others are None.
        flatness: None for walks that are too short.
    """

    name: str
    options: dict[str, Any]
    kernels_used: str
    load_s: float
    first_in_process: bool
    first_frames: dict[str, float]
    settled: dict[str, Any]
    memory: dict[str, float | None]
    flatness: dict[str, float | None] | None
    chunks: list[ChunkTimes]


class Memory:
    """This process's CUDA allocation in GB; None on other devices."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.known = device.type == "cuda"

    def now(self) -> float | None:
        return (torch.cuda.memory_allocated(self.device) + uncounted_bytes()) / GB if self.known else None

    def forget_peak(self) -> None:
        if self.known:
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> float | None:
        return (torch.cuda.max_memory_allocated(self.device) + uncounted_bytes()) / GB if self.known else None


def settled_from(recipe: Recipe) -> int:
    """Index of the first chunk that counts."""
    memory, n = recipe.memory, recipe.chunk_latents
    latents = memory.window + memory.sink - n if isinstance(memory, Rolling) else memory.frames
    return -(-latents // n) + WARM_UPS


def network_stages(recipe: Recipe) -> tuple[str, ...]:
    """Names of the network's stages in a chunk; a rolling memory's prefill is the second look at the chunk before."""
    return (PREFILL, *(step_name(step) for step in range(recipe.steps)))


def stages_of(recipe: Recipe) -> tuple[str, ...]:
    """Names of all stages of a chunk."""
    return ("selection", *network_stages(recipe), DECODE, "hand_over", "rest")


def measure(source: Source, setup: Setup, say: Say, *, first_in_process: bool, split: SplitChoice = "auto") -> Run:
    """Time a cold start, a walk and warm starts of `setup`; raises `InputError` if weights or modes cannot run here.

    split: of the weights, see `together`.
    """
    if (known := source.known_recipe) is not None:
        _length(setup, known)  # before a minute goes into loading
    release(source.device)
    memory, clock = Memory(source.device), Clock(source.device)
    empty = memory.now()
    say(f"{setup.name}: weights")
    began = time.perf_counter()
    pipeline = together(built, source, setup, device=source.device, split=split)
    clock.wait()
    load_s = time.perf_counter() - began
    loaded = memory.now()
    recipe = pipeline.walker.recipe
    settled, chunks_asked = settled_from(recipe), _length(setup, recipe)
    setup = replace(setup, chunks=chunks_asked)
    probe = attach(pipeline)
    path = path_of(pipeline, chunks_asked)

    say(f"{setup.name}: cold start, building kernels")
    memory.forget_peak()
    began = time.perf_counter()
    world = start(pipeline, source, setup)
    chunks_to_come = pipeline.walk(world, path, chunks_asked)
    clock.wait()
    start_peak = memory.peak()
    chunks = [time_chunk(chunks_to_come, probe, memory)]
    cold_s = time.perf_counter() - began
    for i in range(1, chunks_asked):
        say(f"{setup.name}: {'warming up' if i < settled else 'measuring'}, chunk {i + 1} of {chunks_asked}")
        chunks.append(time_chunk(chunks_to_come, probe, memory))

    say(f"{setup.name}: warm starts")
    warm = []
    for _ in range(WARM_STARTS):
        clock.wait()
        began = time.perf_counter()
        time_chunk(pipeline.walk(start(pipeline, source, setup), path, 1), probe, memory)
        warm.append(time.perf_counter() - began)
    keys_values, _ = pipeline.walker.bytes_needed(world.latent_shape[1:])
    peaks = [peak for peak in (_rounded(start_peak), *(chunk.peak_gb for chunk in chunks)) if peak is not None]
    return Run(
        name=setup.name,
        options={**setup.options(), "gpus": ranks(), "split_weights": split},
        kernels_used="triton" if wants_triton(setup.modes.kernels, source.device) else "plain",
        load_s=round(load_s, 2),
        first_in_process=first_in_process,
        first_frames={"cold_s": round(cold_s, 3), "warm_s": round(median(warm), 3)},
        settled=settled_medians(chunks, settled),
        memory={
            "peak_gb": max(peaks, default=None),
            "weights_gb": _difference(loaded, empty),
            "keys_values_gb": _rounded(keys_values / GB),
        },
        flatness=flatness(chunks),
        chunks=chunks,
    )


def _length(setup: Setup, recipe: Recipe) -> int:
    settled = settled_from(recipe)
    if setup.chunks and setup.chunks <= settled:
        raise InputError(
            f"The first {settled} chunks of {recipe.name} warm up, so a walk needs {settled + 1} or more, got "
            f"{setup.chunks}: give --chunks more."
        )
    return setup.chunks or settled + MEASURED


def built(source: Source, setup: Setup, *, device: torch.device | str) -> Pipeline:
    """`source` built on another device of its kind, as each of several processes has one."""
    return replace(source, device=torch.device(device)).build(setup)


def release(device: torch.device) -> None:
    """Free the memory of deleted pipelines."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def attach(pipeline: Pipeline) -> Probe:
    """Wrap the pipeline's networks and decoder in timers."""
    walker, decoding = pipeline.walker, pipeline.walker.decoding
    assert decoding is not None
    probe = Probe(Clock(walker.device), stages_of(walker.recipe), forwards=1 + walker.recipe.is_guided)
    walker.network, decoding.decoder = TimedNetwork(walker.network, probe), TimedDecoder(decoding.decoder, probe)
    if walker.second is not None:
        walker.second = TimedNetwork(walker.second, probe)
    return probe


def time_chunk(walk: Iterator[Chunk], probe: Probe, memory: Memory) -> ChunkTimes:
    """Make the next chunk of `walk` and time its stages."""
    clock = probe.clock
    clock.wait()
    memory.forget_peak()
    probe.clear()
    began, origin = time.perf_counter(), clock.mark()
    chunk = next(walk)
    clock.wait()
    ms = 1000 * (time.perf_counter() - began)
    assert chunk.frames is not None
    assert probe.first_call is not None

    stages = dict.fromkeys(probe.stages, 0.0)
    stages["selection"] = 1000 * (probe.first_call - began)
    for span in probe.spans:
        stages[span.stage] += clock.milliseconds(span.begin, span.end)
    stages["hand_over"] = ms - clock.milliseconds(origin, probe.spans[-1].end)
    stages["rest"] = ms - sum(stages.values())
    return ChunkTimes(
        index=chunk.index,
        memory_latents=len(chunk.memory_frames),
        frames=len(chunk.frames),
        ms=round(ms, 2),
        peak_gb=_rounded(memory.peak()),
        stages_ms={stage: round(value, 2) for stage, value in stages.items()},
    )


def settled_medians(chunks: list[ChunkTimes], settled: int) -> dict[str, Any]:
    """What the chunks from index `settled` on took."""
    counted = [chunk for chunk in chunks if chunk.index >= settled]
    chunk_ms = median(chunk.ms for chunk in counted)
    stages = tuple(counted[0].stages_ms)
    in_network = [stage for stage in stages if stage == PREFILL or stage.startswith(STEP)]
    network = [sum(chunk.stages_ms[stage] for stage in in_network) for chunk in counted]
    return {
        "from_chunk": settled,
        "chunks": len(counted),
        "frames": counted[0].frames,
        "chunk_ms": round(chunk_ms, 2),
        "fps": round(1000 * counted[0].frames / chunk_ms, 2),
        "network_ms": round(median(network), 2),
        "stages_ms": {stage: round(median(chunk.stages_ms[stage] for chunk in counted), 2) for stage in stages},
    }


def flatness(chunks: list[ChunkTimes]) -> dict[str, float | None] | None:
    """Time and memory of a late chunk over an early one, see `FLAT_CHUNKS`; None for shorter walks."""
    early, late = (_around(chunks, index) for index in FLAT_CHUNKS)
    if len(late) <= FLAT_REACH:
        return None
    early_ms, late_ms = (median(chunk.ms for chunk in part) for part in (early, late))
    result: dict[str, float | None] = {
        f"chunk_{FLAT_CHUNKS[0]}_ms": round(early_ms, 2),
        f"chunk_{FLAT_CHUNKS[1]}_ms": round(late_ms, 2),
        "time_ratio": round(late_ms / early_ms, 4),
        "memory_ratio": None,
    }
    early_gb, late_gb = ([chunk.peak_gb for chunk in part if chunk.peak_gb] for part in (early, late))
    if early_gb and late_gb:
        result["memory_ratio"] = round(median(late_gb) / median(early_gb), 4)
    return result


def _around(chunks: list[ChunkTimes], index: int) -> list[ChunkTimes]:
    return [chunk for chunk in chunks if abs(chunk.index - index) <= FLAT_REACH]


def _rounded(gb: float | None) -> float | None:
    return None if gb is None else round(gb, 3)


def _difference(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else round(after - before, 3)
