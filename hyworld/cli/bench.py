"""`hyworld bench`: speed and memory on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..atomic import check_new_file
from ..bench.measure import Say, measure
from ..bench.report import Report
from ..bench.workload import Setup, source_for
from ..config import check_size
from ..errors import InputError
from ..modes import REMEMBERED, Modes, at_speed, decoder_at
from .console import console, parse_size, reports_errors, stderr, write_whole
from .launch import launch_if_asked
from .options import (
    KV,
    SPEED,
    Attention,
    Convolutions,
    Gpus,
    Graphs,
    Kernels,
    Linears,
    RecipeName,
    Remembered,
    Speed,
    SplitWeights,
    Steps,
)

MEASURE = "What is measured"
WEIGHTS = "Weights (default: random ones, which cost the same)"
OUTPUT = "Output"


@reports_errors
def bench(
    size: Annotated[
        str | None,
        typer.Option(
            help="Height x width in pixels, multiples of 32. Default: the model's own, 704x1280 of WorldPlay.",
            rich_help_panel=MEASURE,
        ),
    ] = None,
    chunks: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Length of the walk in chunks. The first warm up, until the memory is full (6 of WorldPlay's). "
            "Default: 8 more; with 64 it is seen that the time stays flat.",
            show_default=False,
            rich_help_panel=MEASURE,
        ),
    ] = None,
    preset: Annotated[
        Literal["auto", "wan_5b", "tiny", "tiny-random"],
        typer.Option(
            help="Networks; auto: wan_5b (random weights) on a GPU, tiny-random elsewhere.", rich_help_panel=WEIGHTS
        ),
    ] = "auto",
    recipe: RecipeName = None,
    steps: Steps = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Transformer: model.pt, safetensors or a folder.", rich_help_panel=WEIGHTS),
    ] = None,
    vae: Annotated[
        Path | None,
        typer.Option(help="Its VAE: wan2.2_vae.safetensors, Wan2.1_VAE.pth or such.", rich_help_panel=WEIGHTS),
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
    speed: Speed = "exact",
    attention: Attention = "auto",
    kernels: Kernels = "auto",
    linears: Linears = "exact",
    convolutions: Convolutions = "exact",
    kv: KV = "auto",
    remembered: Remembered = REMEMBERED,
    graphs: Graphs = "auto",
    gpus: Gpus = 1,
    split_weights: SplitWeights = "auto",
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
    On a machine without a GPU the built-in tiny-random is measured. --recipe takes
    other models: with random weights of the released size, or with --weights.
    """
    launch_if_asked(gpus, device)
    if tiny_decoder is not None and decoder_at(speed, decoder) == "full":
        raise InputError("A tiny decoder file was given but is not used: add --decoder tiny, or leave the file out.")
    if json_file is not None:
        check_new_file(json_file, ".json", overwrite=overwrite)
    source = source_for(preset, device, dtype, weights, vae, tiny_decoder, recipe, steps)
    height, width = source.preset.size if size is None else parse_size(size)
    check_size(height, width)
    chosen = Modes(attention, kernels, linears, kv, graphs, remembered, convolutions)
    setup = Setup(
        (height, width), chunks or 0, at_speed(speed, chosen, decoder), decoder_at(speed, decoder), decode_at_once
    )
    with _progress() as say:
        report = Report(source, [measure(source, setup, say, first_in_process=True, split=split_weights)])
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
