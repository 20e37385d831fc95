"""The stopwatches change nothing, and what they report is the walk that took place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hyworld.bench import measure as measure_module
from hyworld.bench import probes
from hyworld.bench.measure import ChunkTimes, Memory, attach, flatness, measure, settled_medians, stages_of, time_chunk
from hyworld.bench.probes import Clock, TimedDecoder
from hyworld.bench.released import released
from hyworld.bench.workload import Setup, Source, source_for, start, walk
from hyworld.config import TINY_RANDOM, frames_in
from hyworld.dit import WanDiT
from hyworld.errors import InputError
from hyworld.vae import Wan22VAE
from hyworld.walk import WORLDPLAY, Rolling, Walker
from hyworld.walk.conditioning import Conditioning
from hyworld.walk.recipes import RECIPES, recipe

CPU = torch.device("cpu")
SIZE = (64, 64)
STAGES = stages_of(WORLDPLAY)


@pytest.fixture
def source() -> Source:
    return Source(TINY_RANDOM, CPU, torch.float32)


@torch.no_grad()
def test_a_timed_walk_gives_the_same_latents_and_frames(source: Source):
    setup = Setup(SIZE, 2)
    path = walk(setup.chunks)
    plain, timed = source.build(setup), source.build(setup)
    wanted = list(plain.walk(start(plain, source, setup), path))
    probe = attach(timed)
    for got, want in zip(timed.walk(start(timed, source, setup), path), wanted, strict=True):
        assert torch.equal(got.latents, want.latents)
        assert torch.equal(got.frames, want.frames)
    stages = [span.stage for span in probe.spans]
    assert stages == [
        *(f"step_{n}" for n in range(4)),
        "decode",
        "prefill",
        *(f"step_{n}" for n in range(4, 8)),
        "decode",
    ]


class MadeUpTime(Clock):
    """Time that passes only in `wait` (the frames' way to the host, 1 ms) and in what is slowed down."""

    def __init__(self) -> None:
        super().__init__(CPU)
        self.now = 0.0

    def mark(self) -> float:
        return self.now

    def wait(self) -> None:
        self.now += 1

    def milliseconds(self, begin: float, end: float) -> float:
        return end - begin

    def slowed(self, call: Callable[..., Any], *costs: float) -> Callable[..., Any]:
        """`call`, before which the first time `costs[0]` passes, then `costs[1]` and so on, round and round."""
        calls = iter(range(10**6))

        def slow(*args: Any, **rest: Any) -> Any:
            self.now += costs[next(calls) % len(costs)]
            return call(*args, **rest)

        return slow


@torch.no_grad()
@pytest.mark.parametrize("at_once", [1, 4])
def test_every_stage_has_its_own_time_once(source: Source, monkeypatch: pytest.MonkeyPatch, at_once: int):
    setup = Setup(SIZE, 3, decode_at_once=at_once)
    pipeline, clock = source.build(setup), MadeUpTime()
    chunks = pipeline.walk(start(pipeline, source, setup), walk(setup.chunks))
    probe = attach(pipeline)
    probe.clock = clock
    host = SimpleNamespace(perf_counter=lambda: clock.now / 1000)
    monkeypatch.setattr(measure_module, "time", host)
    monkeypatch.setattr(probes, "time", host)

    def slow(owner: Any, name: str, *costs: float) -> None:
        monkeypatch.setattr(owner, name, clock.slowed(getattr(owner, name), *costs))

    slow(Conditioning, "cameras", 1)  # before the first forward: cameras of the chunk and of what it remembers
    slow(WanDiT, "forward", 8, 16, 32, 64, 4, 8, 16, 32, 64)
    slow(TimedDecoder, "decode_stream", *[512 / (4 // at_once)])  # between forwards and decoder
    slow(Wan22VAE, "decode_stream", *[128 / (4 // at_once)])
    first, second = (time_chunk(chunks, probe, Memory(CPU)) for _ in range(2))
    steps = {"step_0": 8, "step_1": 16, "step_2": 32, "step_3": 64}
    shared = {**steps, "decode": 128, "hand_over": 1, "rest": 512}
    assert first.stages_ms == shared | {"selection": 1, "prefill": 0}
    assert second.stages_ms == shared | {"selection": 2, "prefill": 4}
    assert (first.ms, second.ms) == (762, 767)
    assert probe.calls("decode") == 4 // at_once
    assert (first.memory_latents, second.memory_latents) == (0, 4)
    assert (first.frames, second.frames) == (13, 16)


def test_a_run_walks_every_chunk_and_starts_again(source: Source, monkeypatch: pytest.MonkeyPatch):
    steps, said = [], []
    step = Walker._step

    def recorded(self: Walker, *args: Any, **told: Any) -> Any:
        steps.append(step(self, *args, **told))
        return steps[-1]

    monkeypatch.setattr(Walker, "_step", recorded)
    run = measure(source, Setup(SIZE, 7), said.append, first_in_process=True)
    assert [chunk.index for chunk in steps] == [*range(7), 0, 0, 0]
    assert [chunk.index for chunk in run.chunks] == list(range(7))
    assert [chunk.memory_latents for chunk in run.chunks] == [0, 4, 8, 12, 16, 16, 16]
    assert sum(chunk.frames for chunk in run.chunks) == frames_in(28)
    assert run.settled["chunks"] == 1
    assert run.settled["fps"] == pytest.approx(16000 / run.chunks[6].ms, abs=0.02)
    assert run.first_frames["cold_s"] * 1000 > run.chunks[0].ms
    assert run.kernels_used == "plain"
    assert "64x64 exact: warming up, chunk 6 of 7" in said
    assert "64x64 exact: measuring, chunk 7 of 7" in said


def chunk(index: int, ms: float, peak_gb: float | None = None) -> ChunkTimes:
    return ChunkTimes(index, 16, 16, ms, peak_gb, dict.fromkeys(STAGES, ms / len(STAGES)))


def test_only_settled_chunks_count():
    chunks = [chunk(i, 9000.0) for i in range(6)] + [chunk(6, 100.0), chunk(7, 5000.0), chunk(8, 200.0)]
    settled = settled_medians(chunks, 6)
    assert settled["chunks"] == 3
    assert settled["chunk_ms"] == 200
    assert settled["fps"] == 80
    assert settled["stages_ms"]["decode"] == pytest.approx(200 / len(STAGES), abs=0.01)


def test_flatness_compares_late_chunks_with_early_ones():
    assert flatness([chunk(i, 100) for i in range(60)]) is None
    grown = flatness([chunk(i, 100 + i, 20 + i / 10) for i in range(64)])
    assert grown is not None
    assert grown["time_ratio"] == pytest.approx(160 / 108, abs=1e-4)
    assert grown["memory_ratio"] == pytest.approx(26 / 20.8, abs=1e-4)
    unknown = flatness([chunk(i, 100) for i in range(64)])
    assert unknown is not None
    assert unknown["memory_ratio"] is None


@pytest.mark.parametrize("chunks", [1, 16, 64, 200])
def test_the_walk_has_any_length_and_comes_back(chunks: int):
    path = walk(chunks)
    assert path.chunks == chunks
    assert len(path) == 4 * chunks
    if chunks >= 16:
        assert path.c2w[62] == pytest.approx(path.c2w[0], abs=1e-9)


def test_files_without_their_model_are_refused(tmp_path):
    with pytest.raises(InputError, match="--weights"):
        Source(TINY_RANDOM, CPU, torch.float32, vae=tmp_path / "vae.safetensors")


@torch.no_grad()
@pytest.mark.parametrize("name", ["self_forcing", "ti2v_5b", "causal_wan22_14b", "wan21_i2v"])
def test_other_recipes_are_timed_by_their_own_stages(name: str, monkeypatch: pytest.MonkeyPatch):
    """By small networks of the released kind."""
    known = recipe(name)
    whole = released(known)
    dit = replace(whole.dit, num_heads=2, head_dim=24, num_layers=2, ffn_dim=32, text_dim=16, freq_dim=16)
    vae = replace(whole.vae, encoder_dim=8, decoder_dim=8, num_res_blocks=1)
    source = Source(replace(whole, dit=dit, vae=vae), CPU, torch.float32, recipe=name)
    if known.advance == "unipc":
        short = {"chunk_latents": 3, "memory": Rolling(window=3)}
        monkeypatch.setitem(RECIPES, name, replace(known, **short))
        source = replace(source, steps=2)
    run = measure(source, Setup((64, 64)), lambda text: None, first_in_process=True)
    steps = 2 if known.advance == "unipc" else known.steps
    stages = run.settled["stages_ms"]
    assert list(stages) == ["selection", "prefill", *(f"step_{i}" for i in range(steps)), "decode", "hand_over", "rest"]
    assert all(stages[stage] > 0 for stage in stages if stage not in ("selection", "rest"))
    assert run.settled["frames"] == 12
    assert len(run.chunks) == run.settled["from_chunk"] + 8
    if name == "self_forcing":
        assert run.settled["from_chunk"] == 8
        assert run.chunks[-1].memory_latents == 18


def test_a_recipe_is_not_for_a_preset_and_a_walk_must_be_long_enough(source: Source):
    with pytest.raises(InputError, match="leave out --recipe, or --preset"):
        source_for("tiny", "cpu", "float32", None, None, None, "self_forcing")
    with pytest.raises(InputError, match=r"first 6 chunks of worldplay warm up.*7 or more, got 3"):
        measure(source, Setup(SIZE, 3), lambda text: None, first_in_process=True)
