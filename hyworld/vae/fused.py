"""The functions of `kernels` for GPUs: Triton kernels, and fewer multiplications in the upsampling convolutions.

Rounding is that of `kernels`, except that `double` sums weights and rounds the sums to their dtype. Tensors that are
not channels_last go to the plain functions.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor, nn

from ..copying import copy_into
from . import kernels as plain
from .convolution import Conv3d
from .fp8_convolution import Fp8Conv3d
from .kernels import Cells, Kernels, regular

TILE = 4096
"""Elements per Triton program."""

FEW = 10_000
"""Positions of so few pictures that cuDNN takes an older kernel, unless they are one video."""

_KEEPS_FLOAT32 = torch.__version__ >= "2.8"
"""Whether products of smaller numbers can be given as float32."""


def kernels() -> Kernels:
    """The fused functions."""
    return Kernels(norm_silu_extend, convolve, add, double, attend)


def lay_out(vae: nn.Module) -> None:
    """Have the weights lie as the convolutions read them: else each call would copy them, a fiftieth of a decode."""
    for weight in vae.parameters():
        if weight.ndim == 5:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last_3d)


def norm_silu_extend(
    x: Tensor,
    gain: Tensor,
    past: Tensor,
    bias: Tensor | None = None,
    *,
    frame: int = 0,
    factor: float | None = None,
) -> Tensor:
    """One pass, straight into the extended tensor."""
    if not _channels_last(x):
        return plain.norm_silu_extend(x, gain, past, bias, frame=frame, factor=factor)
    if factor is not None:
        from . import fused_fp8

        return fused_fp8.norm_silu_extend(x, gain, past, bias, factor, frame=frame)
    B, C, T, H, W = x.shape
    history, rows_out = past.shape[2], H + 2 * frame
    out = torch.empty(
        (B, C, history + T, rows_out, W), device=x.device, dtype=x.dtype, memory_format=torch.channels_last_3d
    )
    copy_into(out[:, :, :history, frame : frame + H], past)
    width = triton.next_power_of_2(C)
    rows = max(1, TILE // width)
    _norm_silu[(triton.cdiv(T * H * W, rows), B)](
        x, gain, x if bias is None else bias, out, T * H * W, H * W, history, rows_out * W, frame * W, T,
        C, bias is not None, rows, width,
    )  # fmt: skip
    return out


def convolve(conv: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """torch adds a bias in a pass of its own: leave it to the next function."""
    if type(conv) is Fp8Conv3d:
        from . import fused_fp8

        return fused_fp8.convolve(conv, x), conv.bias
    if type(conv) is not Conv3d or conv.bias is None:
        return plain.convolve(conv, x)
    return F.conv3d(x, conv.weight, None, conv.stride, conv.padding), conv.bias


def add(x: Tensor, x_bias: Tensor | None, y: Tensor, y_bias: Tensor | None) -> Tensor:
    """One pass, in place."""
    if not (_channels_last(x) and _channels_last(y)):
        return plain.add(x, x_bias, y, y_bias)
    _add[(triton.cdiv(y.numel(), TILE),)](
        x, x if x_bias is None else x_bias, y, y if y_bias is None else y_bias, y.numel(), y.shape[1],
        x_bias is not None, y_bias is not None, TILE,
    )  # fmt: skip
    return y


def double(conv: nn.Module, x: Tensor, cells: Cells | None) -> Tensor:
    """In 4/9 of the multiplications.

    After nearest-neighbour doubling, the 3x3 window of an output pixel holds 2x2 input pixels, depending on whether its
    row and column are even or odd. So four 2x2 convolutions of the input (`_phases`) give the four kinds of output
    pixels; they run as one and are interleaved while bias and copies, if any, are added.
    """
    if type(conv) is not nn.Conv2d or not (_channels_last(x) and (cells is None or _channels_last(cells.source))):
        return plain.double(conv, x, cells)
    B, _, T, H, W = x.shape
    if T * H * W < FEW:
        phases = F.conv3d(x, _phases_of(conv).unsqueeze(2), padding=(0, 1, 1))
        phases = phases.contiguous(memory_format=torch.channels_last_3d)
    else:
        frames = regular(x.transpose(1, 2).flatten(0, 1))
        phases = F.conv2d(frames, _phases_of(conv), padding=1).contiguous(memory_format=torch.channels_last)
    out_dim = conv.weight.shape[0]
    out = torch.empty(
        (B, out_dim, T, 2 * H, 2 * W), device=x.device, dtype=x.dtype, memory_format=torch.channels_last_3d
    )
    width = triton.next_power_of_2(out_dim)
    columns = max(1, TILE // width)
    source, time, spread, skip = cells or Cells(x, 1, (1, 1, 1), 0)
    _interleave[(triton.cdiv(2 * W, columns), 2 * H, B * T)](
        phases, source if conv.bias is None else conv.bias, source, out, T, H, W, out_dim, source.shape[1],
        source.shape[2], skip, time, *spread, conv.bias is not None, cells is not None, columns, width,
    )  # fmt: skip
    return out


_PHASES: WeakKeyDictionary[nn.Conv2d, tuple[tuple[int, int], Tensor]] = WeakKeyDictionary()
"""Of each convolution: which weights they were made of, by address and version, and they."""


def _phases_of(conv: nn.Conv2d) -> Tensor:
    weight = conv.weight
    made_of = (weight.data_ptr(), 0 if weight.is_inference() else weight._version)  # a host's count no changes
    kept = _PHASES.get(conv)
    if kept is None or kept[0] != made_of:
        _PHASES[conv] = kept = (made_of, _phases(conv.weight))
    return kept[1]


def _phases(weight: Tensor) -> Tensor:
    """3x3 weights `[O, C, 3, 3]` as four 2x2 `[4 * O, C, 2, 2]`: even rows first, then even columns."""
    rows = _halves(weight.float(), 2)
    phases = torch.cat([half for row in rows for half in _halves(row, 3)])
    return phases.to(weight.dtype).contiguous(memory_format=torch.channels_last)


def _halves(weight: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Three taps on doubled pixels as two taps on the original ones, for even and for odd positions."""
    before, here, after = weight.unbind(axis)
    return torch.stack((before, here + after), axis), torch.stack((before + here, after), axis)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """As two products: torch's kernels for so many channels are slower; the scores stay in float32."""
    if not q.is_cuda or q.dtype == torch.float32 or not _KEEPS_FLOAT32:
        return plain.attend(q, k, v)
    scores = torch.bmm(q[:, 0], k[:, 0].transpose(1, 2), out_dtype=torch.float32)
    weights = scores.mul_(q.shape[-1] ** -0.5).softmax(dim=-1)
    return torch.bmm(weights.to(v.dtype), v[:, 0]).unsqueeze(1)


def _channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last_3d)


@triton.jit
def _norm_silu(
    x_ptr, gain_ptr, bias_ptr, out_ptr, positions, picture, history, framed, margin, frames,
    C: tl.constexpr, BIAS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    batch = tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, WIDTH)[None, :]
    inside = (row < positions) & (channel < C)
    row = row.to(tl.int64)
    kept = out_ptr.dtype.element_ty
    x = tl.load(x_ptr + (batch * positions + row) * C + channel, mask=inside, other=0.0).to(tl.float32)
    if BIAS:
        bias = tl.load(bias_ptr + channel, mask=channel < C, other=0.0).to(tl.float32)
        x = (x + bias).to(kept).to(tl.float32)
    gain = tl.load(gain_ptr + channel, mask=channel < C, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(x * x, axis=1) / C + 1e-24)
    normed = (x * scale[:, None] * gain).to(kept).to(tl.float32)
    out = normed / (1.0 + tl.exp(-normed))
    place = (batch * (history + frames) + history + row // picture) * framed + margin + row % picture
    tl.store(out_ptr + place * C + channel, out.to(kept), mask=inside)


@triton.jit
def _add(
    x_ptr, x_bias_ptr, y_ptr, y_bias_ptr, count, C,
    X_BIAS: tl.constexpr, Y_BIAS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    channel = at % C
    kept = y_ptr.dtype.element_ty
    x = tl.load(x_ptr + at, mask=inside).to(tl.float32)
    y = tl.load(y_ptr + at, mask=inside).to(tl.float32)
    if X_BIAS:
        x = (x + tl.load(x_bias_ptr + channel, mask=inside).to(tl.float32)).to(kept).to(tl.float32)
    if Y_BIAS:
        y = (y + tl.load(y_bias_ptr + channel, mask=inside).to(tl.float32)).to(kept).to(tl.float32)
    tl.store(y_ptr + at, (x + y).to(kept), mask=inside)


@triton.jit
def _interleave(
    phases_ptr, bias_ptr, source_ptr, out_ptr, frames, H, W, C, source_channels, source_frames, skip,
    TIME: tl.constexpr, SPREAD_T: tl.constexpr, SPREAD_Y: tl.constexpr, SPREAD_X: tl.constexpr,
    BIAS: tl.constexpr, COPIES: tl.constexpr, COLUMNS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    x = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[:, None]
    y = tl.program_id(1)
    frame = tl.program_id(2).to(tl.int64)
    channel = tl.arange(0, WIDTH)[None, :]
    inside = (x < 2 * W) & (channel < C)
    kept = out_ptr.dtype.element_ty

    place = (frame * (H + 1) + y // 2 + y % 2) * (W + 1) + x // 2 + x % 2
    value = tl.load(phases_ptr + (place * 4 + y % 2 * 2 + x % 2) * C + channel, mask=inside).to(tl.float32)
    if BIAS:
        bias = tl.load(bias_ptr + channel, mask=channel < C).to(tl.float32)
        value = (value + bias).to(kept).to(tl.float32)

    if COPIES:
        grown = frame % frames + skip
        part = grown % TIME % SPREAD_T
        part = part * SPREAD_Y + y % 2 % SPREAD_Y
        spread_channel = (channel * (SPREAD_T * SPREAD_Y) + part) * SPREAD_X + x % 2 % SPREAD_X
        origin = ((frame // frames * source_frames + grown // TIME) * H + y // 2) * W + x // 2
        value += tl.load(source_ptr + origin * source_channels + spread_channel, mask=inside).to(tl.float32)
    tl.store(out_ptr + ((frame * 2 * H + y) * 2 * W + x) * C + channel, value.to(kept), mask=inside)
