"""What this machine's GPU can do, and for the user: what is missing where it cannot."""

from __future__ import annotations

import importlib.util
from functools import lru_cache

import torch


@lru_cache(maxsize=8)
def triton_missing(device: torch.device) -> str | None:
    """None if Triton kernels run on `device`, else the reason, as the end of a sentence."""
    if device.type != "cuda":
        return f"they are for CUDA and ROCm GPUs, not for {device.type}"
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < (8, 0):
        return "they need an NVIDIA card of compute capability 8.0 (RTX 30) or newer"
    from .dit import fused

    try:
        x = torch.ones(1, 1, 1, 4, device=device)
        fused.gated_add(x, x, x)
    except Exception as error:  # whatever Triton or the compiler it calls may raise: no C compiler, no headers, …
        return f"Triton cannot build kernels here ({str(error).strip().splitlines()[0] or type(error).__name__})"
    return None


def fp8_missing(device: torch.device) -> str | None:
    """None if fp8 matrix products run on `device`, else the reason, as the end of a sentence."""
    if device.type != "cuda" or torch.version.hip is not None:
        return "they need an NVIDIA card"
    if torch.cuda.get_device_capability(device) < (9, 0):
        return "row-wise scales need a card of compute capability 9.0 (Hopper, Blackwell)"
    return triton_missing(device)
