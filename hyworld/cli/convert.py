"""`hyworld convert`: released checkpoints → one safetensors file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from ..weights import convert as convert_checkpoint
from .console import console, reports_errors, stderr


@reports_errors
def convert(
    source: Annotated[Path, typer.Argument(help="model.pt, a safetensors file or a diffusers folder; or a VAE.")],
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    dtype: Annotated[
        str, typer.Option(help="bf16, fp16, fp32, or fp8 (scaled e4m3, for cards with little memory).")
    ] = "bf16",
    layout: Annotated[str, typer.Option(help="Tensor names: native (Wan, ComfyUI) or diffusers.")] = "native",
    allow_base: Annotated[
        bool, typer.Option("--allow-base", help="Accept a base Wan 2.2 model, without camera control.")
    ] = False,
    head_dim: Annotated[
        int | None, typer.Option(min=1, help="Channels per attention head, for small models whose file does not say.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the target if it exists.")] = False,
) -> None:
    """Turn a released checkpoint into one safetensors file for ComfyUI and for `hyworld generate`.

    Reads `model.pt` (49 GB) piece by piece, within 1 GB of memory.
    The target appears under its name only when it is whole and was seen to load.
    """
    bar = Progress(
        TextColumn("writing"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=stderr,
    )
    task = bar.add_task("convert", total=None)

    def show(done: int, total: int) -> None:
        bar.start()  # only now, so that an input error prints no bar
        bar.update(task, completed=done, total=total)

    try:
        report = convert_checkpoint(
            source,
            target,
            dtype=dtype,
            layout=layout,
            allow_base=allow_base,
            head_dim=head_dim,
            overwrite=overwrite,
            progress=show,
        )
    finally:
        if bar.live.is_started:
            bar.stop()
    console.print(
        f"{report.target}: {report.tensors} tensors, {report.bytes / 1e9:.2f} GB, {dtype}, checked that it loads",
        markup=False,
    )
