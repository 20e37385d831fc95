"""The result of a benchmark as JSON and as tables."""

from __future__ import annotations

import json
import platform
import re
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from .. import __version__
from .measure import FLAT_CHUNKS, Run
from .workload import Source

FORMAT = 1
"""Version of the result file; goes up when a field changes its meaning."""

LOG_WIDTH = 160
"""Columns of tables written to a file or a pipe."""

DRIVER = Path("/proc/driver/nvidia/version")


@dataclass
class Report:
    source: Source
    runs: list[Run] = field(default_factory=list)

    def content(self) -> dict[str, Any]:
        """The result file's fields; docs/benchmarks.md describes them."""
        return {
            "format": FORMAT,
            "hyworld": __version__,
            "environment": environment(self.source.device),
            "weights": "random" if self.source.weights is None else str(self.source.weights),
            "preset": self.source.preset.name,
            "recipe": self.source.recipe,
            "dtype": str(self.source.dtype).removeprefix("torch."),
            "runs": [asdict(run) for run in self.runs],
        }

    def to_json(self) -> str:
        return json.dumps(self.content(), indent=2) + "\n"

    def tables(self) -> list[Table]:
        return [summary(self.runs)] if len(self.runs) > 1 else [summary(self.runs), chunk_table(self.runs[0])]

    def notes(self) -> list[str]:
        """Remarks printed below the tables."""
        first = all(run.first_in_process for run in self.runs)
        return [] if first else ["* kernels of earlier runs in this process were there already"]

    def show(self) -> None:
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = LOG_WIDTH
        for table in self.tables():
            console.print(table)
        for text in self.notes():
            console.print(text, markup=False, soft_wrap=True)


def environment(device: torch.device) -> dict[str, Any]:
    """Device and versions that the numbers depend on."""
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


def summary(runs: list[Run]) -> Table:
    """Stages, frames per second, starts and memory, a column per run."""
    table = Table(title=f"Medians per chunk of {runs[0].settled['frames']} frames, ms")
    table.add_column("", no_wrap=True)
    for run in runs:
        table.add_column(run.name, justify="right")

    def row(name: str, values: list[str], *, last: bool = False) -> None:
        table.add_row(name, *values, end_section=last)

    stages = list(runs[0].settled["stages_ms"])
    for stage in stages:
        row(stage.replace("_", " "), [_ms(run.settled["stages_ms"][stage]) for run in runs], last=stage == stages[-1])
    row("network", [_ms(run.settled["network_ms"]) for run in runs])
    row("chunk", [_ms(run.settled["chunk_ms"]) for run in runs])
    row("frames/s", [f"{run.settled['fps']:.1f}" for run in runs])
    row("chunks measured", [str(run.settled["chunks"]) for run in runs], last=True)
    row(
        "first frames cold, s",
        [f"{run.first_frames['cold_s']:.2f}{'' if run.first_in_process else ' *'}" for run in runs],
    )
    row("first frames warm, s", [f"{run.first_frames['warm_s']:.2f}" for run in runs], last=True)
    row("peak memory, GB", [_gb(run.memory["peak_gb"]) for run in runs])
    row("  weights", [_gb(run.memory["weights_gb"]) for run in runs])
    row("  keys and values", [_gb(run.memory["keys_values_gb"]) for run in runs], last=True)
    if any(run.flatness for run in runs):
        for key, name in (("time_ratio", "time"), ("memory_ratio", "memory")):
            early, late = (index + 1 for index in FLAT_CHUNKS)
            row(f"chunk {late}/{early}, {name}", [_ratio((run.flatness or {}).get(key)) for run in runs])
    return table


def chunk_table(run: Run) -> Table:
    table = Table(title="Chunk by chunk")
    for column in ("chunk", "memory latents", "frames", "ms", "peak GB"):
        table.add_column(column, justify="right")
    for chunk in run.chunks:
        numbers = (chunk.index + 1, chunk.memory_latents, chunk.frames)
        table.add_row(*(str(number) for number in numbers), _ms(chunk.ms), _gb(chunk.peak_gb))
    return table


def _ms(value: float) -> str:
    return f"{value:.1f}"


def _gb(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
