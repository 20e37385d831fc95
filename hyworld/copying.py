"""Copies between strided tensors, on GPUs 16 bytes at a time: torch moves element by element there."""

from __future__ import annotations

import torch
from torch import Tensor

_WIDE = torch.complex128


def copy_into(there: Tensor, x: Tensor) -> None:
    """`there.copy_(x)`, for tensors of one shape."""
    axis = _together(x)
    if there.dtype == x.dtype and axis == _together(there) and not x.requires_grad:
        a, b = _wide(there.movedim(axis, -1)), _wide(x.movedim(axis, -1))
        if a is not None and b is not None:
            a.copy_(b)
            return
    there.copy_(x)


def duplicate(x: Tensor) -> Tensor:
    """`x.clone()`."""
    if x.requires_grad:
        return x.clone()
    there = torch.empty_like(x)
    copy_into(there, x)
    return there


def _together(x: Tensor) -> int:
    """The axis along which elements lie side by side, the last if there are several."""
    return next((axis for axis in reversed(range(x.ndim)) if x.stride(axis) == 1 and x.shape[axis] > 1), -1)


def _wide(x: Tensor) -> Tensor | None:
    """`x` in units of 16 bytes; None where they do not fit."""
    unit = _WIDE.itemsize // x.element_size()
    fits = x.stride(-1) == 1 and x.storage_offset() % unit == 0 and x.shape[-1] % unit == 0
    return x.view(_WIDE) if fits and all(stride % unit == 0 for stride in x.stride()[:-1]) else None
