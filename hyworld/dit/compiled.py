"""Compiled blocks: Inductor fuses what lies between the matrix products (norms, modulation, RoPE, PRoPE, cache write).

The plain path is `model.run_block`; tests compare the two.
"""

from __future__ import annotations

import importlib.util

import torch

from ..recompiling import allow_many_shapes
from .model import WorldPlayDiT, run_block


def can_compile(device: torch.device) -> str | None:
    """None if blocks can be compiled for `device`, else what is missing, for the user."""
    if device.type != "cuda":
        return f"compiling pays on CUDA devices, not on {device.type}"
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    return None


def compile_blocks(model: WorldPlayDiT) -> None:
    """Run the blocks of `model` compiled from now on; each new shape takes some seconds the first time."""
    allow_many_shapes()
    model.run_block = torch.compile(run_block, dynamic=False)
