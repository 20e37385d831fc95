"""The baseline and the prices compare the same work, on the tiny model."""

from __future__ import annotations

import importlib.util
import math

import pytest
import torch

from benchmarks import baseline as baselines
from benchmarks.baseline import Baseline, measure_naive, ratios, relative
from benchmarks.price import price_modes, psnr
from benchmarks.recording import FIRST_FULL, record
from hyworld.bench.measure import Run
from hyworld.bench.workload import Setup, Source, start, walk
from hyworld.config import TINY_RANDOM
from hyworld.errors import InputError
from hyworld.modes import Modes

SIZE = (64, 64)


@pytest.fixture
def source() -> Source:
    return Source(TINY_RANDOM, torch.device("cpu"), torch.float32)


def test_the_recorded_chunk_is_that_of_the_walk(source: Source):
    setup = Setup(SIZE, FIRST_FULL + 1)
    plain = source.build(setup)
    want = list(plain.walk(start(plain, source, setup), walk(setup.chunks)))[-1]
    got = record(source.build(setup), source, setup).chunk
    assert len(got.memory_frames) == 16
    assert torch.equal(got.latents, want.latents)


def test_the_baseline_repeats_the_engines_last_chunk(source: Source, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("diffusers", reason="diffusers is not installed")
    monkeypatch.setattr(baselines, "REPEATS", 3)
    said: list[str] = []
    result = measure_naive(source, SIZE, said.append)
    assert result.flow_difference < 1e-4
    assert result.frames_difference < 0.05
    assert not result.compiled
    assert any("eagerly" in text for text in said)
    assert min(result.stages_ms.values()) > 0
    assert result.network_ms == pytest.approx(result.stages_ms["prefill"] + result.stages_ms["steps"], abs=0.02)
    assert result.chunk_ms == pytest.approx(result.network_ms + result.stages_ms["decode"], abs=0.02)


def test_without_diffusers_the_baseline_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install diffusers"):
        baselines.check_diffusers()


def test_ratios_are_ours_over_theirs_at_one_size():
    settled = {"network_ms": 900.0, "stages_ms": {"decode": 300.0}}
    run = Run("x", {"size": [64, 64]}, "plain", 0, True, {}, settled, {}, None, [])
    stages = {"prefill": 400.0, "steps": 600.0, "decode": 600.0}
    naive = Baseline("naive", [64, 64], True, 7, stages, 1000.0, 1600.0, 10.0, None, 0, 0)
    assert ratios(run, naive) == {"network_and_decode": 0.75, "network": 0.9, "decode": 0.5}
    assert ratios(Run(**{**run.__dict__, "options": {"size": [32, 64]}}), naive) is None


def test_prices_are_of_what_is_used(source: Source):
    assert price_modes(source, [Setup(SIZE, 7)], lambda text: None) == []
    said: list[str] = []
    (price,) = price_modes(source, [Setup(SIZE, 7), Setup(SIZE, 7, decoder="tiny")], said.append)
    assert said == ["prices: the exact mode", "prices: tiny decoder"]
    assert price.name == "tiny decoder"
    # The decoder changes pictures, never latents.
    assert price.flow_error == price.latents_error == 0
    assert price.first_chunk_psnr_db is not None
    assert price.random_weights


def test_a_network_that_errs_is_priced_by_its_error(source: Source, monkeypatch: pytest.MonkeyPatch):
    build = Source.build

    def build_worse(self: Source, setup: Setup):
        pipeline = build(self, setup)
        if setup.modes.linears == "fp8":
            with torch.no_grad():
                pipeline.walker.network.head.head.weight.mul_(1.1)
                pipeline.walker.network.head.head.bias.mul_(1.1)
        return pipeline

    monkeypatch.setattr(Source, "build", build_worse)
    monkeypatch.setattr("hyworld.modes.fp8_missing", lambda device: None)
    monkeypatch.setattr("hyworld.pipeline.fp8_rounding", lambda modes: None)
    (price,) = price_modes(source, [Setup(SIZE, 7, Modes(linears="fp8"))], lambda text: None)
    assert price.name == "fp8 linears"
    assert price.flow_error == pytest.approx(0.1, rel=1e-3)
    assert price.latents_error > 0
    assert 5 < price.first_chunk_psnr_db < 60


def test_measures_of_difference():
    a = torch.tensor([3.0, 4.0])
    assert relative(a * 1.5, a) == pytest.approx(0.5)
    black = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
    assert math.isinf(psnr(black, black))
    assert psnr(black + 255, black) == pytest.approx(0)
