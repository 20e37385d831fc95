"""`hyworld bench`: how fast is it here, stage by stage, and against the original's method."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from ..atomic import check_new_file
from ..bench.baseline import check_diffusers, measure_naive
from ..bench.measure import SETTLED, Say, measure
from ..bench.price import price_modes
from ..bench.report import Report
from ..bench.suite import suite as suite_of
from ..bench.workload import Setup, Source, preset_for
from ..config import PRESETS, TINY, TINY_RANDOM, WAN_5B, check_size
from ..errors import InputError
from ..modes import Modes
from ..world import pick_device, pick_dtype
from .console import console, note, parse_size, reports_errors, stderr, write_whole
from .options import KV, SPEED, Graphs, Kernels, Linears

MEASURE = "What is measured"
WEIGHTS = "Weights (default: random ones, which cost the same)"
OUTPUT = "Output"

LOG_WIDTH = 160
"""Of tables in a file or a pipe, which have no width of their own."""


@reports_errors
def bench(
    size: Annotated[
        str | None,
        typer.Option(
            help="Height x width in pixels, multiples of 32. Default: 704x1280 (tiny: 160x288).",
            rich_help_panel=MEASURE,
        ),
    ] = None,
    chunks: Annotated[
        int,
        typer.Option(
            min=SETTLED + 1,
            help=f"Length of the walk in chunks of 4 latents; those from {SETTLED} on count, and 64 show flatness.",
            rich_help_panel=MEASURE,
        ),
    ] = 14,
    suite: Annotated[
        bool,
        typer.Option(
            "--suite",
            help="Measure all that docs/benchmarks.md reports, one after the other in this process.",
            rich_help_panel=MEASURE,
        ),
    ] = False,
    baseline: Annotated[
        Literal["none", "naive"],
        typer.Option(
            help="naive: measure the original's method too, in this process (needs diffusers).",
            rich_help_panel=MEASURE,
        ),
    ] = "none",
    prices: Annotated[
        bool,
        typer.Option(
            "--prices", help="Say what error fp8 linears and the tiny decoder add, if used.", rich_help_panel=MEASURE
        ),
    ] = False,
    preset: Annotated[
        Literal["auto", "wan_5b", "tiny", "tiny-random"],
        typer.Option(
            help="Networks; auto: wan_5b (random weights) on a GPU, tiny-random elsewhere.", rich_help_panel=WEIGHTS
        ),
    ] = "auto",
    weights: Annotated[
        Path | None,
        typer.Option(help="Transformer: model.pt, safetensors or a folder.", rich_help_panel=WEIGHTS),
    ] = None,
    vae: Annotated[
        Path | None, typer.Option(help="Wan 2.2 VAE: wan2.2_vae.safetensors or .pth.", rich_help_panel=WEIGHTS)
    ] = None,
    tiny_decoder: Annotated[
        Path | None, typer.Option(help="TAEHV weights, taew2_2.pth.", rich_help_panel=WEIGHTS)
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N, mps or auto.", rich_help_panel=SPEED)] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16 or auto.", rich_help_panel=SPEED)] = "auto",
    decoder: Annotated[
        Literal["full", "tiny"], typer.Option(help="full (the VAE) or tiny (faster, rougher).", rich_help_panel=SPEED)
    ] = "full",
    kernels: Kernels = "auto",
    linears: Linears = "exact",
    kv: KV = "auto",
    graphs: Graphs = "auto",
    decode_at_once: Annotated[
        int | None,
        typer.Option(min=1, max=4, help="Latents the decoder is fed per call.", rich_help_panel=SPEED),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Result file to write, anew after every measurement.", rich_help_panel=OUTPUT),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the result file if it exists.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Measure speed and memory of a walk: each stage, frames per second, the wait for the first frames.

    The real engine walks; CUDA events around its calls tell where the time goes.
    On a machine without a GPU the built-in tiny-random is measured.
    """
    modes = Modes(kernels=kernels, linears=linears, kv=kv, graphs=graphs)
    if suite and (size is not None or modes != Modes() or decoder != "full" or decode_at_once is not None):
        raise InputError("--suite sets sizes, modes and decoders itself: leave those options out.")
    if weights is not None and preset in (TINY.name, TINY_RANDOM.name):
        raise InputError(f"The preset {preset} has its weights built in: leave out --weights, or --preset.")
    if tiny_decoder is not None and decoder == "full" and not suite:
        raise InputError("A tiny decoder file was given but is not used: add --decoder tiny, or leave the file out.")
    if baseline == "naive":
        check_diffusers()
    if json_file is not None:
        check_new_file(json_file, ".json", overwrite=overwrite)
    chosen = pick_device(device)
    sizes = WAN_5B if weights is not None else preset_for(chosen) if preset == "auto" else PRESETS[preset]
    height, width = sizes.size if size is None else parse_size(size)
    check_size(height, width)
    source = Source(sizes, chosen, pick_dtype(dtype, chosen), weights, vae, tiny_decoder)
    setups = suite_of(sizes, chunks) if suite else [Setup((height, width), chunks, modes, decoder, decode_at_once)]

    report = Report(source)

    def save() -> None:
        nonlocal overwrite
        if json_file is not None:
            write_whole(json_file, lambda part: part.write_text(report.to_json()), overwrite=overwrite)
            overwrite = True  # from now on it is this run's own file

    with _progress() as say:
        for setup in setups:
            try:
                report.runs.append(measure(source, setup, say, first_in_process=not report.runs))
            except InputError as error:
                if not suite:
                    raise
                report.skipped[setup.name] = str(error)
                note(f"left out {setup.name}: {error}")
            save()
        if not report.runs:
            raise InputError(f"Nothing of the suite can run here: {next(iter(report.skipped.values()))}")
        if prices:
            measured = [setup for setup in setups if setup.name not in report.skipped]
            report.prices = price_modes(source, measured, say)
            save()
        if baseline == "naive":
            report.baseline = measure_naive(source, setups[0].size, say)
            save()
    paper = Console(width=None if console.is_terminal else LOG_WIDTH, highlight=False)
    for table in report.tables():
        paper.print(table)
    for text in report.notes():
        console.print(text, markup=False)
    if json_file is not None:
        console.print(f"{json_file} has all of it", markup=False)


@contextmanager
def _progress() -> Iterator[Say]:
    """Says on stderr what is happening: one changing line on a terminal, lines for a log elsewhere."""
    if not stderr.is_terminal:
        yield lambda text: stderr.print(text, markup=False)
        return
    with stderr.status("starting") as status:
        yield status.update
