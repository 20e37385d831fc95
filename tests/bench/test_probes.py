"""The stopwatches change nothing, and what they report is the walk that took place."""

from __future__ import annotations

import json

import pytest
import torch
from hyworld.rollout import RolloutEngine

from hyworld.bench.measure import STAGES, ChunkTimes, Memory, attach, flatness, measure, settled_medians, time_chunk
from hyworld.bench.report import Report
from hyworld.bench.suite import LONG, suite
from hyworld.bench.workload import Setup, Source, start, walk
from hyworld.config import TINY_RANDOM, WAN_5B, frames_in
from hyworld.errors import InputError
from hyworld.modes import Modes

CPU = torch.device("cpu")
SIZE = (64, 64)


@pytest.fixture
def source() -> Source:
    return Source(TINY_RANDOM, CPU, torch.float32)


@torch.no_grad()
def test_a_timed_walk_gives_the_same_latents_and_frames(source: Source):
    setup = Setup(SIZE, 2)
    path = walk(setup.chunks)
    plain, timed = source.build(setup), source.build(setup)
    start(plain, source, setup)
    wanted = list(plain.engine.run(path))
    probe = attach(timed)
    start(timed, source, setup)
    for i, want in enumerate(wanted):
        got = timed.engine.step(path.chunk(i))
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


@torch.no_grad()
@pytest.mark.parametrize("at_once", [1, 4])
def test_the_stages_of_a_chunk_add_up_to_it(source: Source, at_once: int):
    setup = Setup(SIZE, 2, decode_at_once=at_once)
    world = source.build(setup)
    probe, path = attach(world), walk(2)
    start(world, source, setup)
    first, second = (time_chunk(world.engine, path, i, probe, Memory(CPU)) for i in range(2))
    assert probe.calls("decode") == 4 // at_once
    assert (first.memory_latents, second.memory_latents) == (0, 4)
    assert (first.frames, second.frames) == (13, 16)
    assert first.stages_ms["prefill"] == 0 < second.stages_ms["prefill"]
    for chunk in (first, second):
        assert tuple(chunk.stages_ms) == STAGES
        assert all(chunk.stages_ms[f"step_{n}"] > 0 for n in range(4))
        assert sum(chunk.stages_ms.values()) == pytest.approx(chunk.ms, abs=0.1)
        assert min(chunk.stages_ms.values()) >= -0.1
        assert chunk.peak_gb is None


def test_a_run_walks_every_chunk_and_starts_again(source: Source, monkeypatch: pytest.MonkeyPatch):
    steps, said = [], []
    step = RolloutEngine.step
    monkeypatch.setattr(
        RolloutEngine, "step", lambda self, *args, **rest: steps.append(chunk := step(self, *args, **rest)) or chunk
    )
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
    settled = settled_medians(chunks)
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


def test_the_suite_has_every_mode_once():
    setups = suite(WAN_5B, 14)
    names = [setup.name for setup in setups]
    assert len(set(names)) == len(names)
    assert names[0] == "704x1280 exact"
    assert {
        "704x1280 exact, plain kernels",
        "704x1280 exact, fast memory",
        "704x1280 exact, graphs off",
        "704x1280 fp8, tiny decoder",
        "480x832 exact",
    } < set(names)
    assert setups[0].chunks == LONG >= 63
    assert Setup(SIZE, 7, Modes(graphs="on"), decode_at_once=2).name == "64x64 exact, graphs on, decoding 2 at once"


def test_files_without_their_model_are_refused(tmp_path):
    with pytest.raises(InputError, match="--weights"):
        Source(TINY_RANDOM, CPU, torch.float32, vae=tmp_path / "vae.safetensors")


def test_an_empty_report_is_json_too(source: Source):
    result = json.loads(Report(source, skipped={"fp8": "no"}).to_json())
    assert result["runs"] == []
    assert result["skipped"] == {"fp8": "no"}
    assert result["environment"]["torch"] == torch.__version__
