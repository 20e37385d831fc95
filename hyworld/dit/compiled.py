"""Compiled blocks: Inductor fuses what lies between the matrix products (norms, modulation, RoPE, PRoPE, cache write).

The plain path is `model.run_block`; tests compare the two.
"""

from __future__ import annotations

import importlib.util

import torch

from .model import WorldPlayDiT, run_block

_SHAPES = 64
"""Different shapes one block may be compiled for: every count of memory frames is one, in prefill and in denoising."""


def can_compile(device: torch.device) -> str | None:
    """None if blocks can be compiled for `device`, else what is missing, for the user."""
    if device.type != "cuda":
        return f"compiling pays on CUDA devices, not on {device.type}"
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    return None


def compile_blocks(model: WorldPlayDiT) -> None:
    """Run the blocks of `model` compiled from now on; each new shape takes some seconds the first time."""
    config = torch._dynamo.config
    name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    setattr(config, name, max(getattr(config, name), _SHAPES))
    model.run_block = torch.compile(run_block, dynamic=False)
