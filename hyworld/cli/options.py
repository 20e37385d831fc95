"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..dit.backends import AttentionChoice
from ..modes import REMEMBERED, ConvolutionChoice, GraphChoice, KernelChoice, KVChoice, LinearChoice, SpeedChoice
from ..parallel.split import SplitChoice

SPEED = "Speed and memory"
RECIPE = "Other Wan models"
"""Panel of `--help`."""


def _recipe(text: str, **limits: Any) -> Any:
    return typer.Option(help=text, rich_help_panel=RECIPE, **limits)


def _speed(text: str, **limits: Any) -> Any:
    return typer.Option(help=text, rich_help_panel=SPEED, **limits)


MoveSpeed = Annotated[
    float | None,
    typer.Option(help="Distance a move token covers per latent. Default: the model's own, 0.08 (DreamX-World: 0.3)."),
]
TurnSpeed = Annotated[
    float | None,
    typer.Option(help="Degrees a turn token turns per latent. Default: the model's own, 3 (DreamX-World: 6)."),
]
Speed = Annotated[
    SpeedChoice,
    _speed("fast: all in fp8 that can be, unless chosen below, at some error; fastest: the tiny decoder, too."),
]
Attention = Annotated[
    AttentionChoice,
    _speed(
        "auto: PyTorch's, exact; flash, sage (some error): if installed; fp8: faster and half the memory, some error."
    ),
]
Kernels = Annotated[
    KernelChoice, _speed("triton: fused GPU kernels; plain: PyTorch alone; auto: triton where it can run.")
]
Linears = Annotated[LinearChoice, _speed("exact, or fp8: faster and half the weights' memory, at some error.")]
Convolutions = Annotated[
    ConvolutionChoice, _speed("exact, or fp8: the full decoder's, faster and half its caches, at a little error.")
]
KV = Annotated[KVChoice, _speed("Memory for remembered latents: fast, or compact (half of it, a little slower).")]
Remembered = Annotated[
    int, _speed(f"Latents a chunk remembers: {REMEMBERED}, as trained, 12 or 8, which is faster and takes less memory.")
]
Graphs = Annotated[GraphChoice, _speed("Replay the network as CUDA graphs: less work for the CPU.")]

Gpus = Annotated[
    int,
    _speed(
        "GPUs of this machine that share the walk (with --device cpu: processes). Their number divides the heads.",
        min=1,
    ),
]

SplitWeights = Annotated[
    SplitChoice,
    _speed(
        "With several GPUs each holds a part of half of the weights and gets the rest as it goes: by reading the "
        "others' memory, or by messages (also between machines). auto: read where they can, else off: each holds all."
    ),
]

RecipeName = Annotated[
    str | None, _recipe("How the checkpoint is walked: see hyworld recipes. Default: what the file or its name says.")
]
LowWeights = Annotated[
    Path | None, _recipe("The low-noise network of a model of two (Wan 2.2 14B); --weights is the high-noise one.")
]
ImageEncoder = Annotated[
    Path | None, _recipe("Diffusers-layout folder of the CLIP vision model, for image-to-video models of Wan 2.1.")
]
Negative = Annotated[
    str | None, _recipe("What a guided model is led away from. Default: Wan's own negative prompt.", metavar="<str>")
]
Steps = Annotated[int | None, _recipe("Denoising steps of a model that is not distilled.", min=1)]
Shift = Annotated[float | None, _recipe("Shift of the schedule instead of the recipe's.")]
Guidance = Annotated[float | None, _recipe("Scale of classifier-free guidance; 1: none.", min=1)]
ColourMatch = Annotated[
    float | None,
    _recipe(
        "How much each chunk's colours are matched to the one before, 0 to 1. Default: the recipe's (DreamX-World: "
        "1, others: 0).",
        min=0,
        max=1,
    ),
]
Averaged = Annotated[
    bool | None,
    _recipe("Which weights of a file that has both to take. Default: the averaged ones.", show_default=False),
]
