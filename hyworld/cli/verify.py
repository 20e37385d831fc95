"""`hyworld verify`: compare this machine with the original's tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..pipeline import pick_device, pick_dtype
from ..verify import REFERENCE
from ..verify import verify as verify_folder
from .console import console, reports_errors


@reports_errors
def verify(
    folder: Annotated[
        Path, typer.Argument(help="Folder of reference tensors (docs/verify.md).", show_default="those of the package")
    ] = REFERENCE,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N, mps or auto.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
) -> None:
    """Compare this machine's results with tensors that the original programs computed.

    Prints a line per item, then one line of JSON; exit code 1 if anything failed.

    Each line gives the item's name, the largest absolute error, the relative
    error and PASS or FAIL. In float32 an item passes up to a relative error of
    1e-4 (TF32 is off); whole numbers must be equal.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}: give the folder that holds the reference tensors.")
    chosen = pick_device(device)
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    worst, worst_item = 0.0, ""
    for item in verify_folder(folder, device=chosen, dtype=pick_dtype(dtype, chosen)):
        outcome = "skipped" if item.skipped else "passed" if item.passed else "failed"
        counts[outcome] += 1
        verdict = {"passed": "PASS", "failed": "FAIL", "skipped": "SKIP"}[outcome]
        note = f"  ({item.note})" if item.note else ""
        errors = f"{item.max_abs:10.3e} {item.relative:10.3e}" if not item.skipped else " " * 21
        console.print(f"{item.name:<32} {errors} {verdict}{note}", markup=False)
        if not item.relative <= worst:
            worst, worst_item = item.relative, item.name
    # JSON has no infinity.
    number = worst if worst < float("inf") else None
    console.print(json.dumps({**counts, "worst": number, "worst_item": worst_item}), markup=False)
    if counts["failed"]:
        raise typer.Exit(1)
    if not counts["passed"]:
        raise InputError(f"{folder} holds no reference tensors: nothing was compared.")
