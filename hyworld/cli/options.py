"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..dit.backends import AttentionChoice
from ..modes import GraphChoice, KernelChoice, KVChoice, LinearChoice

SPEED = "Speed and memory"
"""Panel of `--help`."""


def _speed(text: str) -> Any:
    return typer.Option(help=text, rich_help_panel=SPEED)


Attention = Annotated[AttentionChoice, _speed("auto: PyTorch's, exact; flash, sage (some error): if installed.")]
Kernels = Annotated[
    KernelChoice, _speed("triton: fused GPU kernels; plain: PyTorch alone; auto: triton where it can run.")
]
Linears = Annotated[LinearChoice, _speed("exact, or fp8: faster and half the weights' memory, at some error.")]
KV = Annotated[KVChoice, _speed("Memory for remembered latents: fast, or compact (half of it, a little slower).")]
Graphs = Annotated[GraphChoice, _speed("Replay the network as CUDA graphs: less work for the CPU.")]
