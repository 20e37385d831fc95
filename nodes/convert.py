"""Convert HY-WorldPlay Model."""

from __future__ import annotations

import os
import time
from pathlib import Path

from comfy_api.latest import io, ui

from ..hyworld.errors import InputError
from ..hyworld.weights import DTYPES, ConvertReport, convert
from .host.files import listed_file, names_alone, new_file
from .host.model import file_names
from .host.prompt import inputs_of
from .host.run import ProgressBar, raise_if_interrupted
from .schema import schema

FOLDER = "diffusion_models"
DEFAULT_NAME = "worldplay_5b.safetensors"
_TICKS = 1000


class ConvertModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HYWorldConvertModel",
            display_name="Convert HY-WorldPlay Model",
            description=(
                "Writes the released model.pt (49 GB) as one safetensors file (10.6 GB in bf16), which starts faster. "
                "It is needed once, and takes less than 1 GB of memory. Stopping it leaves nothing behind."
            ),
            search_aliases=["hyworld", "worldplay", "model.pt", "convert checkpoint", "safetensors", "fp8"],
            inputs=[
                io.Combo.Input(
                    "source",
                    options=file_names(),
                    tooltip="A file in models/diffusion_models: model.pt as released, or another file of the model.",
                ),
                io.String.Input(
                    "file_name",
                    default=DEFAULT_NAME,
                    tooltip="Name of the new file, which lies in the source's folder and ends in .safetensors.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=list(DTYPES),
                    default="bf16",
                    tooltip="Precision of the new file. bf16: as the model was trained; fp8: scaled, for cards with "
                    "little memory, half the size at some loss of quality.",
                ),
                io.Boolean.Input("overwrite", default=False, tooltip="Replace a file that has this name already."),
            ],
            outputs=[io.String.Output(display_name="summary", tooltip="What was written.")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, file_name: str | None = None) -> bool | str:
        # Only one input is named: the host repeats an error for every one.
        inputs = inputs_of(cls.hidden.unique_id)
        source, overwrite = inputs.get("source"), inputs.get("overwrite")
        if not (isinstance(source, str) and isinstance(file_name, str) and isinstance(overwrite, bool)):
            return True  # a link, or a value that the host reports
        try:
            _files(source, file_name, overwrite)
        except InputError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, source: str | None = None, file_name: str | None = None, **_: object) -> bool:
        """Whether the file is there, so that it is written again once somebody removed it."""
        try:
            return os.path.lexists(_files(source or "", file_name or "", overwrite=True)[1])
        except InputError:
            return False

    @classmethod
    def execute(cls, source: str, file_name: str, dtype: str, overwrite: bool) -> io.NodeOutput:
        path, target = _files(source, file_name, overwrite)
        bar = ProgressBar(_TICKS, cls.hidden.unique_id)

        def progress(done: int, total: int) -> None:
            raise_if_interrupted()
            bar.update(done * _TICKS // total)
            bar.say(f"Writing {target.name}: {done / 1e9:.1f} of {total / 1e9:.1f} GB")

        folder = target.parent
        began = time.perf_counter()
        with names_alone(folder, f"models/{FOLDER}"), names_alone(f"{folder}{os.sep}", ""):
            report = convert(path, target, dtype=dtype, overwrite=overwrite, progress=progress)
        summary = _summary(report, time.perf_counter() - began)
        bar.say("Done")  # old front ends leave the line there
        return io.NodeOutput(summary, ui=ui.PreviewText(summary))


def _files(source: str, file_name: str, overwrite: bool) -> tuple[Path, Path]:
    """The source and the new file beside it; raises `InputError`."""
    path = listed_file(FOLDER, source, "choose another")
    target = new_file(path.parent, file_name, ".safetensors")
    if os.path.lexists(target) and not overwrite:
        raise InputError(
            f"There is a file {target.name} already: choose another file_name, or switch overwrite on to replace it."
        )
    return path, target


def _summary(report: ConvertReport, seconds: float) -> str:
    after = (
        "Press R in the graph, then choose it in Load HY-WorldPlay Model."
        if report.kind == "transformer"
        else "It is a VAE: move it to models/vae, press R in the graph and choose it in Load VAE."
    )
    written = f"{report.target.name}: {report.tensors} tensors, {report.bytes / 1e9:.2f} GB, {report.dtype}"
    return f"Wrote {written}, in {seconds:.0f} s, and checked that it loads. {after}"
