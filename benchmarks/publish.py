"""The measurements that docs/benchmarks.md reports, one after the other in one process.

    python -m benchmarks.publish --baseline naive --prices --json result.json [--only "704x1280 exact" ...]

Every mode of the suite walks as in `hyworld bench`. `--baseline naive` adds the original's method (needs diffusers),
`--prices` the error of fp8 linears and the tiny decoder. The file is written whole after every measurement.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.baseline import Baseline, baseline_table, check_diffusers, measure_naive, ratios
from benchmarks.price import Price, price_modes, price_table
from hyworld.atomic import check_new_file
from hyworld.bench.measure import FLAT_CHUNKS, FLAT_REACH, Say, measure, settled_from
from hyworld.bench.report import Report
from hyworld.bench.workload import Setup, Source, source_for
from hyworld.cli.console import write_whole
from hyworld.config import PRESETS, WAN_5B, Preset
from hyworld.errors import InputError
from hyworld.modes import Modes, at_speed
from hyworld.walk import WORLDPLAY


@dataclass
class Publication(Report):
    """A `Report` with baseline and prices; `skipped` says why a run cannot run here, by its name."""

    skipped: dict[str, str] = field(default_factory=dict)
    baseline: Baseline | None = None
    prices: list[Price] = field(default_factory=list)

    def content(self) -> dict[str, Any]:
        baseline = self.baseline and {
            **asdict(self.baseline),
            "ratios": {run.name: ratios(run, self.baseline) for run in self.runs},
        }
        prices = [asdict(price) for price in self.prices]
        return super().content() | {"skipped": self.skipped, "baseline": baseline, "prices": prices}

    def tables(self) -> list[Table]:
        tables = super().tables()
        if self.baseline:
            tables.append(baseline_table(self.runs, self.baseline))
        if self.prices:
            tables.append(price_table(self.prices))
        return tables

    def notes(self) -> list[str]:
        found = super().notes() + [f"left out {name}: {why}" for name, why in self.skipped.items()]
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


def publish(
    source: Source, setups: list[Setup], *, naive: bool, prices: bool, save: Callable[[Publication], None], say: Say
) -> Publication:
    """Measure `setups`, prices and the baseline; `save` gets the publication after every measurement.

    Raises `InputError` if no setup can run here, and as `measure_naive` and `price_modes`.
    """
    done = Publication(source)
    for setup in setups:
        try:
            done.runs.append(measure(source, setup, say, first_in_process=not done.runs))
        except InputError as error:
            done.skipped[setup.name] = str(error)
            say(f"left out {setup.name}: {error}")
        save(done)
    if not done.runs:
        raise InputError(f"Nothing of the suite can run here: {next(iter(done.skipped.values()))}")
    if prices:
        done.prices = price_modes(source, [setup for setup in setups if setup.name not in done.skipped], say)
        save(done)
    if naive:
        done.baseline = measure_naive(source, setups[0].size, say)
        save(done)
    return done


LONG = FLAT_CHUNKS[1] + FLAT_REACH + 2
"""Chunks of the walk that measures flatness."""

SMALLER = (480, 832)
SMALLER_TINY = (96, 160)


def suite(preset: Preset, chunks: int) -> list[Setup]:
    """What docs/benchmarks.md reports; the exact mode comes first, so that its cold start is the process's."""
    size, smaller = preset.size, SMALLER if preset is WAN_5B else SMALLER_TINY
    fast, fastest = at_speed("fast", Modes(), "full"), at_speed("fastest", Modes())
    return [
        Setup(size, LONG),
        Setup(size, chunks, Modes(kernels="plain")),
        Setup(size, chunks, Modes(kv="fast")),
        Setup(size, chunks, Modes(graphs="off")),
        Setup(size, chunks, Modes(linears="fp8")),
        Setup(size, chunks, Modes(linears="fp8"), decoder="tiny"),
        Setup(size, chunks, fast),
        Setup(size, chunks, fastest, decoder="tiny"),
        Setup(size, chunks, replace(fastest, remembered=12), decoder="tiny"),
        Setup(size, chunks, replace(fastest, remembered=8), decoder="tiny"),
        Setup(smaller, chunks),
        Setup(smaller, chunks, Modes(linears="fp8"), decoder="tiny"),
        Setup(smaller, chunks, fastest, decoder="tiny"),
    ]


def chosen(setups: list[Setup], names: list[str]) -> list[Setup]:
    """The setups with these names, all for no names; raises `InputError` for an unknown name."""
    known = [setup.name for setup in setups]
    for name in names:
        if name not in known:
            raise InputError(f"The suite has no run {name!r}: choose from {'; '.join(known)}.")
    return [setup for setup in setups if not names or setup.name in names]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="a run of the suite, by its name")
    parser.add_argument("--chunks", type=int, default=14, help="length of the walks but the first")
    parser.add_argument("--baseline", choices=("none", "naive"), default="none")
    parser.add_argument("--prices", action="store_true")
    parser.add_argument("--preset", choices=("auto", *PRESETS), default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--json", type=Path, required=True, help="result file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the result file if it exists")
    options = parser.parse_args(arguments)

    def save(publication: Publication) -> None:
        write_whole(options.json, lambda part: part.write_text(publication.to_json()), overwrite=options.overwrite)
        options.overwrite = True  # the file is now this run's own

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        settled = settled_from(WORLDPLAY)
        if options.chunks <= settled:
            raise InputError(f"The walks need {settled + 1} or more chunks, got {options.chunks}: give --chunks more.")
        if options.baseline == "naive":
            check_diffusers()
        check_new_file(options.json, ".json", overwrite=options.overwrite)
        source = source_for(options.preset, options.device, options.dtype, None, None, None)
        setups = chosen(suite(source.preset, options.chunks), options.only)
        publish(source, setups, naive=options.baseline == "naive", prices=options.prices, save=save, say=say).show()
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
