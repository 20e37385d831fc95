"""What this machine's GPU can run, and for the user what is missing."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch

from .fp8 import FP8, multiply, quantise_rows


def current(device: torch.device) -> AbstractContextManager[Any]:
    """Make `device` the current GPU, where Triton launches kernels and torch records graphs, wherever tensors are."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


@lru_cache(maxsize=8)
def triton_missing(device: torch.device) -> str | None:
    """None if Triton kernels run on `device`, else the reason, as the end of a sentence.

    Raises `torch.OutOfMemoryError` if the GPU is full; that is not cached.
    """
    if device.type != "cuda":
        return f"they are for CUDA and ROCm GPUs, not for {device.type}"
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < (8, 0):
        return "they need an NVIDIA card of compute capability 8.0 (RTX 30) or newer"
    try:
        from .dit import fused

        with current(device):
            x = torch.ones(1, 1, 1, 4, device=device)
            fused.gated_add(x, x, x)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever Triton or the compiler it calls may raise: no C compiler, no headers, …
        return f"Triton cannot build kernels here ({_first_line(error)})"
    return None


def fp8_missing(device: torch.device) -> str | None:
    """None if fp8 matrix products run on `device`, else the reason; raises as `triton_missing`."""
    if device.type != "cuda" or torch.version.hip is not None:
        return "they need an NVIDIA card"
    if torch.cuda.get_device_capability(device) < (9, 0):
        return "row-wise scales need a card of compute capability 9.0 (Hopper, Blackwell)"
    missing = triton_missing(device)
    if missing is not None:
        return missing
    try:
        rows = quantise_rows(torch.ones(128, 128, device=device))
        multiply(*rows, *rows, None, torch.bfloat16)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # a card newer than this torch
        return f"torch {torch.__version__} has none for this card ({_first_line(error)})"
    return None


@lru_cache(maxsize=8)
def fp8_attention_missing(device: torch.device) -> str | None:
    """None if attention in fp8 runs on `device`, else the reason; raises as `triton_missing`."""
    missing = _fp8_kernels_missing(device)
    if missing is not None:
        return missing

    def build() -> None:
        from .dit import fp8_attention, fused_attention

        x = torch.ones(1, 1, 16, 64, device=device, dtype=torch.bfloat16)
        factors = fp8_attention.fixed_factors(device)
        q = fused_attention.fused.branches(x, 1, None, None, None, None, factors.q)
        v = fused_attention.values(x, 1, None, None, factors.v)
        fused_attention.attend(q, q, v, factors, x.dtype)

    return _fails(build, device)


@lru_cache(maxsize=8)
def fp8_convolutions_missing(device: torch.device) -> str | None:
    """None if convolutions in fp8 run on `device`, else the reason; raises as `triton_missing`."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (9, 0):
        return "a card of compute capability 9.0 (Hopper, Blackwell) is needed, for its copy engine"
    missing = _fp8_kernels_missing(device)
    if missing is not None:
        return missing

    def build() -> None:
        from .vae import fused_fp8
        from .vae.fp8_convolution import Fp8Conv3d

        # As wide as real ones: narrow ones take less of a multiprocessor's memory.
        ones = torch.ones(256, 128, 3, 3, 3, device=device, dtype=torch.bfloat16)
        fused_fp8.convolve(Fp8Conv3d(ones, ones[:, 0, 0, 0, 0], 1.0), ones[:1].to(FP8))

    return _fails(build, device)


def _fails(build: Callable[[], None], device: torch.device) -> str | None:
    """None if Triton builds what `build` runs on `device`, else the reason."""
    try:
        with current(device):
            build()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # what Triton raises has no common class
        return f"Triton cannot build it here ({_first_line(error)})"
    return None


def _fp8_kernels_missing(device: torch.device) -> str | None:
    """None if there is what our fp8 kernels are built with, else the reason."""
    if device.type != "cuda" or torch.version.hip is not None:
        return "an NVIDIA card is needed"
    if torch.cuda.get_device_capability(device) < (8, 9):
        return "a card of compute capability 8.9 (RTX 40) or newer is needed"
    missing = triton_missing(device)
    if missing is not None:
        return missing
    import triton.language

    if not hasattr(triton.language, "make_tensor_descriptor"):
        return "Triton 3.4 or newer is needed, which comes with PyTorch 2.8"
    return None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
