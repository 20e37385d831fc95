"""Telling models of one architecture apart, whatever precision their weights are kept in."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

SAMPLES = 64

Fingerprint = tuple[float, ...]
"""Some numbers of a model; empty if not known."""


def fingerprint(state: Mapping[str, Tensor], scales: Mapping[str, Tensor] | None = None) -> Fingerprint:
    """One number from each of up to `SAMPLES` matrices, by native name; `scales` are those of fp8 weights."""
    names = sorted(
        name for name, tensor in state.items() if tensor.ndim > 1 and tensor[0].numel() > 1 and not tensor.is_meta
    )
    chosen = names[:: max(1, math.ceil(len(names) / SAMPLES))]
    return tuple(_middle(state[name], (scales or {}).get(name)) for name in chosen)


def same_model(one: Fingerprint, other: Fingerprint) -> bool:
    """Whether both can be of the same weights; what is not known can.

    Numbers agree within 10 %, since fp8 rounds by up to 6 %, and three of four have to, since some are too small for
    fp8. Numbers of two models agree by chance alone.
    """
    if not one or not other:
        return True
    agreeing = sum(abs(a - b) <= 0.1 * max(abs(a), abs(b)) for a, b in zip(one, other, strict=False))
    return len(one) == len(other) and agreeing >= 0.75 * len(one)


def _middle(tensor: Tensor, scale: Tensor | None) -> float:
    index = tuple(side // 2 for side in tensor.shape)
    value = float(tensor[index].to(torch.float32))
    if scale is not None:
        value *= float(scale.flatten()[index[0] if scale.numel() > 1 else 0])
    return float(f"{value:.4g}")
