"""Times the original's method in this process, on the inputs that a walk gave its network."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from benchmarks.naive import DiffusersDecoder, NaiveNetwork
from benchmarks.recording import FIRST_FULL, record
from hyworld.bench.measure import Memory, Run, Say, release
from hyworld.bench.probes import Clock
from hyworld.bench.workload import Setup, Source, prompt
from hyworld.dit import Inputs, WanDiT
from hyworld.errors import InputError
from hyworld.gpu import triton_missing
from hyworld.modes import Modes
from hyworld.vae import Wan22VAE, to_uint8
from hyworld.walk import WORLDPLAY
from hyworld.walk.walker import fast_attention

REPEATS = 7


@dataclass(frozen=True)
class Baseline:
    """Medians of the original's method for one chunk with a full memory; the stage `steps` is all four steps.

    Attributes:
        flow_difference: of one forward from our exact mode, relative.
        frames_difference: mean difference of the decoded frames, in levels of 255.
    """

    method: str
    size: list[int]
    compiled: bool
    repeats: int
    stages_ms: dict[str, float]
    network_ms: float
    chunk_ms: float
    fps: float
    peak_gb: float | None
    flow_difference: float
    frames_difference: float


def check_diffusers() -> None:
    """Raise `InputError` unless diffusers is installed."""
    if importlib.util.find_spec("diffusers") is None:
        raise InputError("The naive baseline decodes with diffusers, which is not installed: pip install diffusers.")


@torch.no_grad()
def measure_naive(source: Source, size: tuple[int, int], say: Say) -> Baseline:
    """Walk until the memory is full, then time the last chunk with the original's method.

    Raises `InputError` as `Source.build`, and without diffusers.
    """
    check_diffusers()
    setup = Setup(size, FIRST_FULL + 1, Modes(graphs="off"))
    say("naive baseline: weights, and a walk to compare with")
    pipeline = source.build(setup)
    network, vae = pipeline.walker.network, pipeline.vae
    assert isinstance(network, WanDiT)
    assert isinstance(vae, Wan22VAE)
    recorded = record(pipeline, source, setup)
    prefill, step, frames = recorded.prefill, recorded.step, recorded.chunk.frames
    assert frames is not None
    # The walker's keys and values must not count towards the baseline's memory.
    del pipeline
    release(source.device)

    compiled = triton_missing(source.device) is None
    say("naive baseline: compiling" if compiled else "naive baseline: no Triton here, so it runs eagerly")
    naive = NaiveNetwork(network, compiled=compiled)
    text = prompt(network.config.text_dim, source.preset.text_tokens).to(source.device, source.dtype)
    memory, clock = Memory(source.device), Clock(source.device)
    memory.forget_peak()
    with fast_attention(source.device):  # ours, so that the baseline is not slower by its attention
        stored = naive.prefill(*_arguments(prefill, text))
        mine = naive.denoise(*_arguments(step, text), stored)
        difference = relative(mine, recorded.flow)
        say("naive baseline: measuring the network")
        stages = {"steps": WORLDPLAY.steps * _time(lambda: naive.denoise(*_arguments(step, text), stored), clock)}
        stored.clear()
        stages["prefill"] = _time(lambda: naive.prefill(*_arguments(prefill, text)), clock)

        say("naive baseline: measuring the decoder")
        decoder = DiffusersDecoder(vae)
        old, new = (
            latents.to(source.device, source.dtype) for latents in (recorded.before.latents, recorded.chunk.latents)
        )
        for i, part in enumerate(old.split(1, dim=2)):
            decoder.decode(part, begins=i == 0)
        decoded = to_uint8(decoder.decode(new, begins=False)).cpu()
        stages["decode"] = _time(lambda: decoder.decode(new, begins=False), clock)
    network_ms = stages["prefill"] + stages["steps"]
    chunk_ms = network_ms + stages["decode"]
    peak = memory.peak()
    return Baseline(
        method="naive",
        size=list(size),
        compiled=compiled,
        repeats=REPEATS,
        stages_ms={stage: round(stages[stage], 2) for stage in ("prefill", "steps", "decode")},
        network_ms=round(network_ms, 2),
        chunk_ms=round(chunk_ms, 2),
        fps=round(1000 * len(frames) / chunk_ms, 2),
        peak_gb=None if peak is None else round(peak, 3),
        flow_difference=round(difference, 6),
        frames_difference=round(float((decoded.float() - frames.float()).abs().mean()), 4),
    )


def ratios(run: Run, baseline: Baseline) -> dict[str, float] | None:
    """Times of `run` divided by the baseline's; None if their pictures differ in size."""
    if run.options["size"] != baseline.size:
        return None
    network, decode = run.settled["network_ms"], run.settled["stages_ms"]["decode"]
    return {
        "network_and_decode": round((network + decode) / baseline.chunk_ms, 4),
        "network": round(network / baseline.network_ms, 4),
        "decode": round(decode / baseline.stages_ms["decode"], 4),
    }


def baseline_table(runs: list[Run], baseline: Baseline) -> Table:
    """The baseline's times, and the ratios of each run of its size."""
    table = Table(title="The original's method, ms per chunk, and runs over it")
    for column in ("", "network + decode", "network", "decode"):
        table.add_column(column, justify="right" if column else "left")
    times = (baseline.chunk_ms, baseline.network_ms, baseline.stages_ms["decode"])
    name = f"{baseline.size[0]}x{baseline.size[1]} {baseline.method}"
    table.add_row(name, *(f"{ms:.1f}" for ms in times), end_section=True)
    for run in runs:
        found = ratios(run, baseline)
        if found:
            table.add_row(run.name, *(f"{found[part]:.3f}" for part in ("network_and_decode", "network", "decode")))
    return table


def relative(got: Tensor, want: Tensor) -> float:
    """Norm of the difference over norm of `want`."""
    return float((got.float() - want.float()).norm() / want.float().norm())


def _arguments(inputs: Inputs, text: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    control = {name: getattr(inputs, name) for name in ("viewmats", "intrinsics", "action")}
    return inputs.latents, inputs.timestep, text, control


def _time(run: Callable[[], Any], clock: Clock) -> float:
    """Median in ms, after a warm-up call."""
    run()
    times = []
    for _ in range(REPEATS):
        begin = clock.mark()
        run()
        end = clock.mark()
        clock.wait()
        times.append(clock.milliseconds(begin, end))
    return median(times)
