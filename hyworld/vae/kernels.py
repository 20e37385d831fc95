"""The elementwise work between the decoder's convolutions, in two forms: plain, and fused by Inductor.

The plain functions are the reference and run everywhere; `fused` holds the same functions compiled, one
kernel each where the plain ones take three or four passes over the largest tensors. Tests compare the two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..recompiling import allow_many_shapes


def norm_silu_extend(x: Tensor, gain: Tensor, past: Tensor) -> Tensor:
    """RMS norm over the channels, SiLU, and `past` put before it along time: what a causal convolution reads.

    x: `[B, C, T, H, W]`; gain: `[C]`; past: `[B, C, history, H, W]`, already normed. All in one dtype.
    """
    return torch.cat((past, F.silu(rms_norm(x, gain))), dim=2)


def rms_norm(x: Tensor, gain: Tensor) -> Tensor:
    """Scale every position of `x` `[B, C, ...]` to root mean square 1 over C, then each channel by `gain`.

    One fused kernel where the channels lie side by side (channels_last), float32 inside. The original divides by the
    length, at least 1e-12; an eps that small differs from it for all-zero positions alone.
    """
    return F.rms_norm(x.movedim(1, -1), gain.shape, gain, eps=1e-24).movedim(-1, 1)


def add_cells(x: Tensor, cells: Tensor, time: int) -> Tensor:
    """Add `cells` `[B, C, T, time, H, 2, W, 2]`, broadcast within a cell, to `x` `[B, C, T*time, 2H, 2W]` in place."""
    x.unflatten(4, (-1, 2)).unflatten(3, (-1, 2)).unflatten(2, (-1, time)).add_(cells)
    return x


class Kernels(NamedTuple):
    """The functions a decoder runs with."""

    norm_silu_extend: Callable[[Tensor, Tensor, Tensor], Tensor]
    add_cells: Callable[[Tensor, Tensor, int], Tensor]


PLAIN = Kernels(norm_silu_extend, add_cells)


def fused() -> Kernels:
    """The same functions compiled; each new shape takes about a second the first time."""
    allow_many_shapes()
    return Kernels(torch.compile(norm_silu_extend, dynamic=False), torch.compile(add_cells, dynamic=False))
