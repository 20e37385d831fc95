"""Comparing what we compute with reference tensors: one `Item` per comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest relative error that passes, by the precision the networks run in."""

CAMERA_TOLERANCE = 1e-9
"""Camera maths is float64 everywhere."""


Whole = Sequence[int] | Sequence[Sequence[int]] | Tensor
"""Whole numbers as lists, nested lists or a tensor."""


@dataclass(frozen=True)
class Item:
    """The outcome of one comparison.

    `max_abs` is the largest absolute difference, `relative` the norm of the difference over the norm of the
    reference (for whole numbers: the share that differs). `skipped` items had no file to compare with.
    """

    name: str
    max_abs: float = 0.0
    relative: float = 0.0
    passed: bool = True
    skipped: bool = False
    note: str = ""


def compare(name: str, got: Tensor | np.ndarray, want: Tensor | np.ndarray, tolerance: float) -> Item:
    """Compare real tensors by relative error; shapes must agree and nothing may be NaN or infinite."""
    a, b = (torch.asarray(x, copy=True).detach().double().cpu() for x in (got, want))
    if a.shape != b.shape:
        return Item(name, float("inf"), float("inf"), False, note=f"shape {list(a.shape)}, expected {list(b.shape)}")
    difference = a - b
    max_abs = difference.abs().max().item() if a.numel() else 0.0
    relative = (difference.norm() / b.norm().clamp_min(1e-30)).item()
    # Written so that NaN fails.
    return Item(name, max_abs, relative, passed=bool(relative <= tolerance))


def compare_exactly(name: str, got: Whole, want: Whole) -> Item:
    """Compare whole numbers; a single difference fails."""
    a, b = torch.as_tensor(got), torch.as_tensor(want)
    if a.shape != b.shape:
        return Item(name, float("inf"), float("inf"), False, note=f"shape {list(a.shape)}, expected {list(b.shape)}")
    if not a.numel():
        return Item(name)
    difference = (a.to(torch.int64) - b.to(torch.int64)).abs()
    wrong = (difference > 0).double().mean().item()
    return Item(name, float(difference.max().item()), wrong, passed=wrong == 0)
