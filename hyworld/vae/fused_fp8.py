"""The functions of `fp8_convolution` as Triton kernels.

Their tensors lie within a frame of zeros, `[B, T, H + 2, W + 1, C]`: a row above and below each picture and a column
after it, which is also the one before the next row. What a tap of a convolution reads then lies at one distance from
every position, and the convolution is a product whose factor is read 27 times, from 27 places on.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from ..fp8 import FP8, FP8_MAX
from .fp8_convolution import Fp8Conv3d

TILE = 4096
"""Elements per program of `norm_silu_extend`."""

ROWS, COLUMNS, DEPTH = 128, 256, 128
"""See `Tiles`; measured on an H200."""

SUMMED = 2560
"""Products whose sum is left to Hopper's tensor cores. They keep too few bits: of 27,648 with a mean they lost 8 %."""

_FP8_MAX = tl.constexpr(FP8_MAX)


class Tiles(NamedTuple):
    """Of a program of `convolve`: positions, output channels, and input channels of a step; steps on their way.

    summed: steps after which the tensor cores' sum is added to the total; with as many as there are, it is the total.
    """

    rows: int
    columns: int
    depth: int
    stages: int
    summed: int


def norm_silu_extend(
    x: Tensor, gain: Tensor, past: Tensor, bias: Tensor | None, factor: float, *, frame: int = 0
) -> Tensor:
    """See `kernels.norm_silu_extend`; x is channels_last. What is left free holds zeros."""
    B, C, T, H, W = x.shape
    past = past.contiguous(memory_format=torch.channels_last_3d)
    history = past.shape[2]
    out = torch.empty((B, history + T, H + 2, W + 1, C), device=x.device, dtype=FP8)
    width = triton.next_power_of_2(C)
    rows = max(1, TILE // width)
    _norm_silu[(triton.cdiv((H + 2) * (W + 1), rows), history + T, B)](
        x, gain, x if bias is None else bias, past, out, factor, H, W, T, history, C, bias is not None, rows, width,
        num_warps=2,
    )  # fmt: skip
    return out[:, :, 1 - frame : H + 1 + frame, :W].movedim(-1, 1)


def convolve(conv: Fp8Conv3d, x: Tensor, tiles: Tiles | None = None) -> Tensor:
    """`conv` of `x` without its bias, channels_last.

    x: as `norm_silu_extend` makes it, with its frame of zeros; or any other, which is then copied into one.
    """
    above = 1 - conv.padding[1]
    if not _lies_framed(x, above):
        x = _framed(x, above)
    B, C, frames, H, W = x.shape
    T, H, out_dim = frames - 2, H - 2 * above, len(conv.weight)
    row = W + 1
    positions = x.as_strided((B * frames * (H + 2) * row, C), (C, 1), x.storage_offset() - (1 - above) * row * C)
    tiles = tiles or _tiles(x.device, C, out_dim)
    out = torch.empty((B, T, H, W, out_dim), device=x.device, dtype=conv.bias.dtype)
    a = TensorDescriptor.from_tensor(positions, [tiles.rows, tiles.depth])
    b = TensorDescriptor.from_tensor(conv.weight, [tiles.columns, tiles.depth])
    _convolve[(triton.cdiv(H * row, tiles.rows) * triton.cdiv(out_dim, tiles.columns), B * T)](
        a, b, conv.scale, out, H, W, T, out_dim, (H + 2) * row, row,
        C, tiles.rows, tiles.columns, tiles.depth, tiles.summed, num_warps=8, num_stages=tiles.stages,
    )  # fmt: skip
    return out.movedim(-1, 1)


def _lies_framed(x: Tensor, above: int) -> bool:
    _, C, T, H, W = x.shape
    row = (W + 1) * C
    picture = (H + 2 - 2 * above) * row
    return x.stride() == (T * picture, 1, picture, row, C) and x.storage_offset() >= (1 - above) * row


def _framed(x: Tensor, above: int) -> Tensor:
    B, C, T, H, W = x.shape
    rows = H + 2 - 2 * above
    out = torch.zeros((B, T, rows, W + 1, C), device=x.device, dtype=torch.uint8).view(FP8)
    inside = out[:, :, 1 - above : 1 - above + H, :W].movedim(-1, 1)
    inside.copy_(x)
    return inside


@lru_cache(maxsize=64)
def _tiles(device: torch.device, in_dim: int, out_dim: int) -> Tiles:
    rows, columns, depth = ROWS, min(COLUMNS, out_dim & -out_dim), min(DEPTH, in_dim & -in_dim)
    if device.type != "cuda":
        return Tiles(rows, columns, depth, 1, SUMMED // depth)
    index = torch.cuda.current_device() if device.index is None else device.index
    room = triton.runtime.driver.active.utils.get_device_properties(index)["max_shared_mem"]
    stages = min(4, room // ((rows + columns) * depth))
    # Other cards' sums were not measured, and on RTX Blackwell two of them do not fit into the registers.
    hopper = torch.cuda.get_device_capability(device)[0] == 9
    return Tiles(rows, columns, depth, stages, SUMMED // depth if hopper else 27 * in_dim // depth)


@triton.jit(do_not_specialize=["H", "W", "frames", "history"])
def _norm_silu(
    x_ptr, gain_ptr, bias_ptr, past_ptr, out_ptr, factor, H, W, frames, history,
    C: tl.constexpr, BIAS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    place = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    frame = tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)
    channel = tl.arange(0, WIDTH)[None, :]
    row, column = place // (W + 1) - 1, place % (W + 1)
    framed = (H + 2) * (W + 1)
    inside = (row >= 0) & (row < H) & (column < W) & (channel < C)
    at = row * W + column
    out = out_ptr + ((batch * (history + frames) + frame) * framed + place) * C + channel
    written = (place < framed) & (channel < C)
    if frame < history:
        past = tl.load(past_ptr + ((batch * history + frame) * H * W + at) * C + channel, mask=inside, other=0.0)
        tl.store(out, past, mask=written)
    else:
        x_at = x_ptr + ((batch * frames + frame - history) * H * W + at) * C + channel
        x = tl.load(x_at, mask=inside, other=0.0).to(tl.float32)
        kept = x_ptr.dtype.element_ty
        if BIAS:
            bias = tl.load(bias_ptr + channel, mask=channel < C, other=0.0).to(tl.float32)
            x = tl.where(inside, (x + bias).to(kept).to(tl.float32), 0.0)
        gain = tl.load(gain_ptr + channel, mask=channel < C, other=0.0).to(tl.float32)
        scale = tl.rsqrt(tl.sum(x * x, axis=1) / C + 1e-24)
        normed = (x * scale[:, None] * gain).to(kept).to(tl.float32)
        value = normed / (1.0 + tl.exp(-normed)) * factor
        tl.store(out, tl.minimum(tl.maximum(value, -_FP8_MAX), _FP8_MAX).to(tl.float8e4nv), mask=written)


@triton.jit(do_not_specialize=["H", "W", "T", "picture", "row"])
def _convolve(
    x_desc, weight_desc, scale_ptr, out_ptr, H, W, T, out_dim, picture, row,
    C: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, SUMMED_STEPS: tl.constexpr,
):  # fmt: skip
    columns = tl.cdiv(out_dim, N)
    first = tl.program_id(0) // columns * M
    n = tl.program_id(0) % columns * N
    frame = tl.program_id(1)
    STEPS: tl.constexpr = C // K
    base = (frame // T * (T + 2) + frame % T) * picture + first - 1
    total = tl.zeros((M, N), tl.float32)
    part = tl.zeros((M, N), tl.float32)
    for step in tl.range(0, 27 * STEPS):
        tap = step // STEPS
        place = base + tap // 9 * picture + tap // 3 % 3 * row + tap % 3
        a = x_desc.load([place, step % STEPS * K])
        b = weight_desc.load([n, step * K])
        part = tl.dot(a, b.T, part)
        if SUMMED_STEPS < 27 * STEPS:  # noqa: SIM102 - known to the compiler
            if step % SUMMED_STEPS == SUMMED_STEPS - 1:
                # The larger their sum, the more the tensor cores lose. Of parts that are alike each now begins at minus
                # a third of what it adds and ends at two thirds, which loses half of what a beginning at 0 does.
                total += part
                part *= -0.5
    column = n + tl.arange(0, N)
    value = (1.5 * total + part) * tl.load(scale_ptr + column, mask=column < out_dim, other=0.0)[None, :]
    place = first + tl.arange(0, M)
    y, x = place // row, place % row
    inside = ((x < W) & (y < H))[:, None] & (column < out_dim)[None, :]
    at = (frame.to(tl.int64) * H * W + y * W + x)[:, None] * out_dim + column[None, :]
    tl.store(out_ptr + at, value.to(out_ptr.dtype.element_ty), mask=inside)
