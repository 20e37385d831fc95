"""The result of a benchmark: a JSON file that keeps what there is, and the tables people read."""

from __future__ import annotations

import json
import platform
import re
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from .. import __version__
from .baseline import Baseline, ratios
from .measure import STAGES, Run
from .price import Price
from .workload import Source

FORMAT = 1
"""Of the result file; goes up when a field changes its meaning."""

DRIVER = Path("/proc/driver/nvidia/version")


@dataclass
class Report:
    """What was measured so far."""

    source: Source
    runs: list[Run] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    baseline: Baseline | None = None
    prices: list[Price] = field(default_factory=list)

    def to_json(self) -> str:
        """The result file's text; its fields are described in docs/benchmarks.md."""
        baseline = self.baseline
        result = {
            "format": FORMAT,
            "hyworld": __version__,
            "environment": environment(self.source.device),
            "weights": "random" if self.source.weights is None else str(self.source.weights),
            "preset": self.source.preset.name,
            "dtype": str(self.source.dtype).removeprefix("torch."),
            "runs": [asdict(run) for run in self.runs],
            "skipped": self.skipped,
            "baseline": None
            if baseline is None
            else {**asdict(baseline), "ratios": {run.name: ratios(run, baseline) for run in self.runs}},
            "prices": [asdict(price) for price in self.prices],
        }
        return json.dumps(result, indent=2) + "\n"

    def tables(self) -> list[Table]:
        """What was measured, as tables for the terminal."""
        tables = [summary(self.runs, self.baseline)]
        if len(self.runs) == 1:
            tables.append(chunk_table(self.runs[0]))
        if self.prices:
            tables.append(price_table(self.prices))
        return tables

    def notes(self) -> list[str]:
        """What one must know to read the tables."""
        found = [f"left out {name}: {why}" for name, why in self.skipped.items()]
        if not all(run.first_in_process for run in self.runs):
            found.append("* kernels of earlier runs in this process were there already")
        if self.baseline:
            how = "compiled" if self.baseline.compiled else "not compiled"
            flow, frames = self.baseline.flow_difference, self.baseline.frames_difference
            found.append(
                f"{self.baseline.method}: the original's method, {how}, median of {self.baseline.repeats}; "
                f"its flow differs from the exact one by {flow:.2%}, its frames by {frames:.2f} of 255"
            )
        if any(price.random_weights for price in self.prices):
            found.append("random weights: the pictures, and so their PSNR, mean nothing")
        return found


def environment(device: torch.device) -> dict[str, Any]:
    """What the numbers depend on besides this program."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else platform.processor() or platform.machine(),
        "threads": None if cuda else torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "triton": _version("triton"),
        "diffusers": _version("diffusers"),
        "driver": _driver() if cuda else None,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _driver() -> str | None:
    if not DRIVER.is_file():
        return None
    found = re.search(r"\d+\.\d+(\.\d+)?", DRIVER.read_text(errors="replace"))
    return found[0] if found else None


def summary(runs: list[Run], baseline: Baseline | None) -> Table:
    """One column per run: stages, frames per second, starts, memory, and what the original's method takes."""
    table = Table(title="Medians per chunk of 4 latents, ms")
    table.add_column("", no_wrap=True)
    for run in runs:
        table.add_column(run.name, justify="right")
    if baseline:
        table.add_column(f"{baseline.size[0]}x{baseline.size[1]} {baseline.method}", justify="right")

    def row(name: str, values: list[str], of_baseline: str = "", *, last: bool = False) -> None:
        table.add_row(name, *values, *([of_baseline] if baseline else []), end_section=last)

    for stage in STAGES:
        values = [_ms(run.settled["stages_ms"][stage]) for run in runs]
        theirs = baseline.stages_ms.get(stage) if baseline else None
        row(stage.replace("_", " "), values, "" if theirs is None else _ms(theirs), last=stage == STAGES[-1])
    row("network", [_ms(run.settled["network_ms"]) for run in runs], _ms(baseline.network_ms) if baseline else "")
    row("chunk", [_ms(run.settled["chunk_ms"]) for run in runs], _ms(baseline.chunk_ms) if baseline else "")
    row("frames/s", [f"{run.settled['fps']:.1f}" for run in runs], f"{baseline.fps:.1f}" if baseline else "")
    row("chunks measured", [str(run.settled["chunks"]) for run in runs], last=True)
    row(
        "first frames cold, s",
        [f"{run.first_frames['cold_s']:.2f}{'' if run.first_in_process else ' *'}" for run in runs],
    )
    row("first frames warm, s", [f"{run.first_frames['warm_s']:.2f}" for run in runs], last=True)
    row(
        "peak memory, GB",
        [_gb(run.memory["peak_gb"]) for run in runs],
        _gb(baseline.peak_gb) if baseline else "",
    )
    row("  weights", [_gb(run.memory["weights_gb"]) for run in runs])
    row("  keys and values", [_gb(run.memory["keys_values_gb"]) for run in runs], last=True)
    if any(run.flatness for run in runs):
        for key, name in (("time_ratio", "time"), ("memory_ratio", "memory")):
            values = [_ratio((run.flatness or {}).get(key)) for run in runs]
            row(f"chunk 60/8, {name}", values, last=name == "memory")
    if baseline:
        compared = [ratios(run, baseline) or {} for run in runs]
        for key in ("network_and_decode", "network", "decode"):
            row(f"{key.replace('_and_', '+')} / {baseline.method}", [_ratio(part.get(key)) for part in compared], "1")
    return table


def chunk_table(run: Run) -> Table:
    """Every chunk of one run."""
    table = Table(title="Chunk by chunk")
    for column in ("chunk", "memory latents", "frames", "ms", "peak GB"):
        table.add_column(column, justify="right")
    for chunk in run.chunks:
        numbers = (chunk.index, chunk.memory_latents, chunk.frames)
        table.add_row(*(str(number) for number in numbers), _ms(chunk.ms), _gb(chunk.peak_gb))
    return table


def price_table(prices: list[Price]) -> Table:
    """What modes add in error."""
    table = Table(title="Error against the exact mode")
    for column in ("mode", "flow of one forward", "its chunk's latents", "first chunk's frames"):
        table.add_column(column, justify="left" if column == "mode" else "right")
    for price in prices:
        quality = "equal" if price.first_chunk_psnr_db is None else f"{price.first_chunk_psnr_db:.1f} dB PSNR"
        table.add_row(price.name, f"{price.flow_error:.3%}", f"{price.latents_error:.3%}", quality)
    return table


def _ms(value: float) -> str:
    return f"{value:.1f}"


def _gb(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
