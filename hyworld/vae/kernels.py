"""The functions between the decoder's convolutions: plain PyTorch, the reference for those of `fused` for GPUs.

Tensors are `[B, C, T, H, W]` unless said otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..fp8 import to_fp8

Convolution = Callable[[Tensor], Tensor]


class Cells(NamedTuple):
    """The shortcut around an upsampling stage: copies of its input `source` `[B, C', T, H, W]`, added to its output.

    Every position grows into a cell of `time` x 2 x 2. The `prod(spread)` source channels of an output channel are
    spread over the cell's frames, rows and columns, where `spread` is not 1. `skip`: leading frames left out.
    """

    source: Tensor
    time: int
    spread: tuple[int, int, int]
    skip: int


def norm_silu_extend(
    x: Tensor,
    gain: Tensor,
    past: Tensor,
    bias: Tensor | None = None,
    *,
    frame: int = 0,
    factor: float | None = None,
) -> Tensor:
    """RMS norm of `x + bias` over the channels, then SiLU, preceded in time by `past`. All in one dtype.

    gain, bias: `[C]`; past: `[B, C, history, H, W]`, already normed.
    frame: rows to leave free above and below; what they hold is not defined.
    factor: the result is multiplied by it and rounded to float8_e4m3fn, and so was `past`; None: it is not.
    """
    normed = rms_norm(_biased(x, bias), gain)
    new = F.silu(normed) if factor is None else to_fp8(F.silu(normed.float()) * factor)
    extended = torch.cat((past, new), dim=2)
    return F.pad(extended, (0, 0, frame, frame)) if frame else extended


def rms_norm(x: Tensor, gain: Tensor) -> Tensor:
    """Scale every position of `x` `[B, C, ...]` to root mean square 1 over C, then each channel by `gain`.

    One kernel if x is channels_last, float32 inside. The original clamps the length at 1e-12 instead of adding an eps:
    this eps differs only for all-zero positions.
    """
    return F.rms_norm(x.movedim(1, -1), gain.shape, gain, eps=1e-24).movedim(-1, 1)


def convolve(conv: Convolution, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """The convolution of `x`, and the bias `[C]` still to be added or None."""
    return conv(x), None


def add(x: Tensor, x_bias: Tensor | None, y: Tensor, y_bias: Tensor | None) -> Tensor:
    """`(x + x_bias) + (y + y_bias)`; `y` may be overwritten."""
    return _biased(x, x_bias) + _biased(y, y_bias)


def double(conv: Any, x: Tensor, cells: Cells | None) -> Tensor:
    """Double height and width by nearest neighbour, convolve every frame (3x3, zero padding), add `cells` if any."""
    y = per_frame(lambda frames: conv(F.interpolate(frames, scale_factor=2, mode="nearest")), x)
    if cells is None:
        return y
    copies = cells.source.unflatten(1, (-1, *cells.spread)).permute(0, 1, 5, 2, 6, 3, 7, 4)
    if cells.skip:
        # A partly skipped cell cannot be cut out of a view: its frames are added separately.
        _add_cells(y[:, :, :1], copies[:, :, :1, -1:], 1)
        _add_cells(y[:, :, 1:], copies[:, :, 1:], cells.time)
    else:
        _add_cells(y, copies, cells.time)
    return y


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention within pictures, `[N, 1, positions, C]`."""
    return F.scaled_dot_product_attention(q, k, v)


def _add_cells(x: Tensor, cells: Tensor, time: int) -> None:
    """Add `cells` `[B, C, T, time, H, 2, W, 2]`, broadcast within a cell, to `x` `[B, C, T*time, 2H, 2W]` in place."""
    x.unflatten(4, (-1, 2)).unflatten(3, (-1, 2)).unflatten(2, (-1, time)).add_(cells)


def _biased(x: Tensor, bias: Tensor | None) -> Tensor:
    return x if bias is None else x + bias.view(-1, *[1] * (x.ndim - 2))


def per_frame(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a layer for pictures `[N, C, H, W]` to every frame of `x`."""
    frames = layer(regular(x.transpose(1, 2).flatten(0, 1)))
    return regular(frames.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2))


def regular(x: Tensor) -> Tensor:
    """The same memory with the strides of a fresh channels_last tensor on axes of size 1.

    With other strides torch may take it for channels-first, and all convolutions that follow return channels-first.
    """
    layout = torch.channels_last_3d if x.ndim == 5 else torch.channels_last
    if not x.is_contiguous(memory_format=layout):
        return x
    strides = [x.shape[1] * math.prod(x.shape[2:]), 1]
    strides += [x.shape[1] * math.prod(x.shape[axis + 1 :]) for axis in range(2, x.ndim)]
    return x.as_strided(x.shape, strides)


class Strip(Protocol):
    """The rows that this process decodes, of pictures that several share."""

    def own(self, x: Tensor) -> Tensor:
        """Its rows of `x`."""

    @property
    def kernels(self) -> Kernels:
        """What runs on these: they get the rows beside them from the other processes."""


class Kernels(NamedTuple):
    """The functions a decoder runs with; the defaults are the plain ones.

    strip: what is decoded here after the middle; None: all of it.
    """

    norm_silu_extend: Callable[..., Tensor] = norm_silu_extend
    convolve: Callable[[Any, Tensor], tuple[Tensor, Tensor | None]] = convolve
    add: Callable[[Tensor, Tensor | None, Tensor, Tensor | None], Tensor] = add
    double: Callable[[Any, Tensor, Cells | None], Tensor] = double
    attend: Callable[[Tensor, Tensor, Tensor], Tensor] = attend
    strip: Strip | None = None


PLAIN = Kernels()
