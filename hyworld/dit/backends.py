"""Attention backends by name: PyTorch's, exact on every device, fp8 in Triton, and optional packages."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Literal, get_args

from torch import Tensor

from ..errors import InputError
from .kernels import Attend, sdpa

AttentionChoice = Literal["auto", "flash", "sage", "fp8"]
"""`auto` is PyTorch's attention, which prefers cuDNN's kernels on NVIDIA cards; so is that of `fp8` to the prompt."""

BACKENDS: tuple[str, ...] = get_args(AttentionChoice)

_PACKAGES = {"flash": "flash_attn", "sage": "sageattention"}


def missing_package(name: str) -> str | None:
    """Package that backend `name` lacks here, or None."""
    package = _PACKAGES.get(name)
    return package if package is not None and importlib.util.find_spec(package) is None else None


def attention_backend(name: str) -> Attend:
    """Attention function of backend `name`; raises `InputError` if it is unknown or not installed."""
    if name not in BACKENDS:
        raise InputError(f"There is no attention backend {name!r}: choose one of {', '.join(BACKENDS)}.")
    missing = missing_package(name)
    if missing is not None:
        raise InputError(f"The attention backend {name!r} needs the package {missing}: install it, or choose auto.")
    if name == "flash":
        flash = importlib.import_module("flash_attn").flash_attn_func

        def flash_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return flash(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)

        return flash_attention
    if name == "sage":
        sage = importlib.import_module("sageattention").sageattn

        def sage_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return sage(q, k, v, tensor_layout="HND", is_causal=False)

        return sage_attention
    return sdpa
