"""Comparisons with reference tensors: one `Item` each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest relative error that passes, by the networks' precision."""

CAMERA_TOLERANCE = 1e-9
"""Camera maths is float64 everywhere."""


Whole = Sequence[int] | Sequence[Sequence[int]] | Tensor
"""Whole numbers as lists, nested lists or a tensor."""


@dataclass(frozen=True)
class Item:
    """The outcome of one comparison.

    max_abs: largest absolute difference.
    relative: norm of the difference over norm of the reference; for whole numbers, the share that differs.
    skipped: there was no file to compare with.
    """

    name: str
    max_abs: float = 0.0
    relative: float = 0.0
    passed: bool = True
    skipped: bool = False
    note: str = ""


def compare(name: str, got: Tensor | np.ndarray, want: Tensor | np.ndarray, tolerance: float) -> Item:
    """Compare real tensors by relative error; other shapes, no elements, NaN or infinity fail."""
    a, b = (torch.asarray(x, copy=True).detach().double().cpu() for x in (got, want))
    if a.shape != b.shape:
        return _incomparable(name, f"shape {list(a.shape)}, expected {list(b.shape)}")
    if not a.numel():
        return _incomparable(name, "there is nothing to compare")
    if not (a.isfinite().all() and b.isfinite().all()):
        return _incomparable(name, "NaN or infinity")
    difference = a - b
    relative = (difference.norm() / b.norm().clamp_min(1e-30)).item()
    return Item(name, difference.abs().max().item(), relative, passed=relative <= tolerance)


def compare_exactly(name: str, got: Whole, want: Whole) -> Item:
    """Compare whole numbers, in rows of any lengths; a single difference fails."""
    rows, wanted = _rows(got), _rows(want)
    lengths, expected = ([len(row) for row in x] for x in (rows, wanted))
    if lengths != expected:
        return _incomparable(name, f"rows of {lengths} numbers, expected {expected}")
    differences = [abs(a - b) for a, b in zip(chain(*rows), chain(*wanted), strict=True)]
    wrong = sum(difference > 0 for difference in differences)
    return Item(name, max(differences, default=0), wrong / max(1, len(differences)), passed=not wrong)


def _rows(numbers: Whole) -> list[list[int]]:
    """Nested lists unchanged, a flat one as the only row."""
    nested: list[Any] = numbers.tolist() if isinstance(numbers, Tensor) else list(numbers)
    return nested if any(isinstance(row, Sequence) for row in nested) else [nested]


def _incomparable(name: str, why: str) -> Item:
    return Item(name, float("inf"), float("inf"), passed=False, note=why)
