"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from ..dit.backends import AttentionChoice
from ..modes import GraphChoice, KernelChoice, KVChoice, LinearChoice

SPEED = "Speed and memory"
"""Panel of `--help`."""

Attention = Annotated[
    AttentionChoice,
    typer.Option(
        help="auto: PyTorch's, exact; flash, sage (some error): if their package is installed.", rich_help_panel=SPEED
    ),
]
Kernels = Annotated[
    KernelChoice,
    typer.Option(
        help="triton: fused GPU kernels; plain: PyTorch alone; auto: triton where it can run.", rich_help_panel=SPEED
    ),
]
Linears = Annotated[
    LinearChoice,
    typer.Option(help="exact, or fp8: faster and half the weights' memory, at some error.", rich_help_panel=SPEED),
]
KV = Annotated[
    KVChoice,
    typer.Option(
        help="Memory for remembered latents: fast, or compact (half of it, a little slower).", rich_help_panel=SPEED
    ),
]
Graphs = Annotated[
    GraphChoice,
    typer.Option(help="Replay the network as CUDA graphs: less work for the CPU.", rich_help_panel=SPEED),
]
