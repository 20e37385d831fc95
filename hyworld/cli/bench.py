"""`hyworld bench`: speed and memory on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..atomic import check_new_file
from ..bench.measure import SETTLED, Say, measure
from ..bench.report import Report
from ..bench.workload import Setup, source_for
from ..config import check_size
from ..errors import InputError
from ..modes import Modes
from .console import console, parse_size, reports_errors, stderr, write_whole
from .options import KV, SPEED, Attention, Graphs, Kernels, Linears

MEASURE = "What is measured"
WEIGHTS = "Weights (default: random ones, which cost the same)"
OUTPUT = "Output"


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
            help=f"Length of the walk in chunks; the first {SETTLED} warm up, and 64 show flatness.",
            rich_help_panel=MEASURE,
        ),
    ] = 14,
    preset: Annotated[
        Literal["auto", "wan_5b", "dreamx_5b", "tiny", "tiny-random"],
        typer.Option(
            help="Networks; auto: wan_5b on a GPU, tiny-random elsewhere; wan_5b and dreamx_5b have random weights.",
            rich_help_panel=WEIGHTS,
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
        Path | None,
        typer.Option(help="TAEHV weights, taew2_2.pth; the built-in world has its own.", rich_help_panel=WEIGHTS),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N, mps or auto.", rich_help_panel=SPEED)] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16 or auto.", rich_help_panel=SPEED)] = "auto",
    decoder: Annotated[
        Literal["full", "tiny"], typer.Option(help="full (the VAE) or tiny (faster, rougher).", rich_help_panel=SPEED)
    ] = "full",
    attention: Attention = "auto",
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
        typer.Option("--json", help="Result file to write.", rich_help_panel=OUTPUT),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the result file if it exists.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Measure speed and memory of a walk: each stage, frames per second, the wait for the first frames.

    The walk is the real one; CUDA events around its calls tell where the time goes.
    On a machine without a GPU the built-in tiny-random is measured.
    """
    if tiny_decoder is not None and decoder == "full":
        raise InputError("A tiny decoder file was given but is not used: add --decoder tiny, or leave the file out.")
    if json_file is not None:
        check_new_file(json_file, ".json", overwrite=overwrite)
    source = source_for(preset, device, dtype, weights, vae, tiny_decoder)
    height, width = source.preset.size if size is None else parse_size(size)
    check_size(height, width)
    modes = Modes(attention=attention, kernels=kernels, linears=linears, kv=kv, graphs=graphs)
    setup = Setup((height, width), chunks, modes, decoder, decode_at_once)
    with _progress() as say:
        report = Report(source, [measure(source, setup, say, first_in_process=True)])
    if json_file is not None:
        write_whole(json_file, lambda part: part.write_text(report.to_json()), overwrite=overwrite)
    report.show()
    if json_file is not None:
        console.print(f"{json_file} has all of it", markup=False)


@contextmanager
def _progress() -> Iterator[Say]:
    """Status on stderr: one changing line on a terminal, else one line each."""
    if not stderr.is_terminal:
        yield lambda text: stderr.print(text, markup=False)
        return
    with stderr.status("starting") as status:
        yield status.update
