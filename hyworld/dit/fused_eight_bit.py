"""`eight_bit.keep` and `fp8_attention.spread` as Triton kernels."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor, nn

from ..fp8 import FP8_MAX
from . import fused
from .eight_bit import LARGEST, Kept
from .fp8_attention import Factors
from .kernels import RopeTables

_FP8_MAX = tl.constexpr(FP8_MAX)
_LARGEST = tl.constexpr(LARGEST)

TOKENS = 64
"""Values that a program transposes at a time; twice as many where nothing is transposed."""

ROTATED = 16
"""Keys of all heads that a program rotates."""


def keep(k_BFSE: Tensor, v_BFSE: Tensor, norm: nn.Module | None, kept: Kept) -> None:
    gain, eps = None, 0.0
    if type(norm) is nn.RMSNorm:
        gain, eps = norm.weight, norm.eps or 0.0
    elif norm is not None:
        k_BFSE = norm(k_BFSE)  # as in `fused.branches`
    k, v = (x if fused.even_rows(x) else x.contiguous() for x in (k_BFSE, v_BFSE))
    B, num_frames, S, E = k.shape
    H, N = kept.k.shape[1], num_frames * S
    D = E // H
    k_scale, v_scale = kept.scales
    _keep_keys[(B * N,)](
        k, k if gain is None else gain, kept.k, k_scale, eps, N, k.stride(2), *kept.k.stride()[:3],
        *k_scale.stride()[:2], H, D, triton.next_power_of_2(H), triton.next_power_of_2(D), gain is not None,
        num_warps=fused.WARPS,
    )  # fmt: skip
    _keep_values[(triton.cdiv(N, TOKENS), H, B)](
        v, kept.v, v_scale, N, v.stride(2), *kept.v.stride()[:3], *v_scale.stride()[:2],
        D, triton.next_power_of_2(D), TOKENS,
    )  # fmt: skip


def spread(kept: Kept, rope: RopeTables, matrix: Tensor, out: tuple[Tensor, Tensor], factors: Factors) -> None:
    (B, H, N, D), (k, v), (k_scale, v_scale) = kept.k.shape, out, kept.scales
    frames, matrix = matrix.shape[1], matrix.contiguous()
    S = N // frames
    _spread_keys[(triton.cdiv(S, ROTATED), frames, B)](
        kept.k, k_scale, *rope, matrix, factors.k, k, S, H, *kept.k.stride()[:3], *k_scale.stride()[:2],
        B * k.stride(0), *k.stride()[:3], D, triton.next_power_of_2(D), ROTATED,
    )  # fmt: skip
    _spread_values[(triton.cdiv(S, 2 * TOKENS), frames * H, B)](
        kept.v, v_scale, matrix, factors.v, v, S, H, frames, *kept.v.stride()[:3], *v_scale.stride()[:2],
        B * v.stride(0), *v.stride()[:3], D // 4, triton.next_power_of_2(D // 4), 2 * TOKENS,
    )  # fmt: skip


@triton.jit
def _keep_keys(
    k_ptr, gain_ptr, out_ptr, scale_ptr, eps, tokens, k_stride, batch_stride, head_stride, token_stride,
    scale_batch, scale_head,
    H: tl.constexpr, D: tl.constexpr, HEADS: tl.constexpr, BLOCK: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    batch, token = row // tokens, row % tokens
    head, channel = tl.arange(0, HEADS)[:, None], tl.arange(0, BLOCK)[None, :]
    inside = (head < H) & (channel < D)
    kept = k_ptr.dtype.element_ty
    x = tl.load(k_ptr + row * k_stride + head * D + channel, mask=inside, other=0.0).to(tl.float32)
    if NORM:
        gain = tl.load(gain_ptr + head * D + channel, mask=inside, other=0.0).to(tl.float32)
        x = (x * tl.rsqrt(tl.sum(x * x) / (H * D) + eps) * gain).to(kept).to(tl.float32)
    whole, scale = _rounded(x, 1)
    at = scale_ptr + batch * scale_batch + tl.arange(0, HEADS) * scale_head + token
    tl.store(at, scale, mask=tl.arange(0, HEADS) < H)
    at = out_ptr + batch * batch_stride + head.to(tl.int64) * head_stride + token * token_stride + channel
    tl.store(at, whole, mask=inside)


@triton.jit
def _keep_values(
    v_ptr, out_ptr, scale_ptr, tokens, v_stride, batch_stride, head_stride, channel_stride, scale_batch, scale_head,
    D: tl.constexpr, BLOCK: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    head, batch = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    token = tl.program_id(0) * T + tl.arange(0, T)
    channel = tl.arange(0, BLOCK)
    inside = (token < tokens)[:, None] & (channel < D)[None, :]
    at = v_ptr + (batch * tokens + token)[:, None] * v_stride + (head * D + channel)[None, :]
    whole, scale = _rounded(tl.load(at, mask=inside, other=0.0).to(tl.float32), 1)
    tl.store(scale_ptr + batch * scale_batch + head * scale_head + token, scale, mask=token < tokens)
    at = out_ptr + batch * batch_stride + head * head_stride
    at += channel.to(tl.int64)[:, None] * channel_stride + token[None, :]
    tl.store(at, tl.trans(whole), mask=tl.trans(inside))


@triton.jit
def _rounded(x, axis: tl.constexpr):
    """As int8, and the scale, which is rounded first."""
    scale = (tl.max(tl.abs(x), axis) / _LARGEST).to(tl.float16)
    x = x / tl.expand_dims(tl.maximum(scale.to(tl.float32), 1e-30), axis)
    return tl.floor(tl.minimum(tl.maximum(x, -_LARGEST), _LARGEST) + 0.5).to(tl.int8), scale


@triton.jit
def _spread_keys(
    k_ptr, scale_ptr, cos_ptr, sin_ptr, matrix_ptr, factor_ptr, out_ptr, tokens_per_frame, heads,
    k_batch, k_head, k_token, scale_batch, scale_head, branch_stride, batch_stride, head_stride, token_stride,
    D: tl.constexpr, BLOCK: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    frame, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    in_frame = tl.program_id(0) * T + tl.arange(0, T)
    token = frame * tokens_per_frame + in_frame
    channel = tl.arange(0, BLOCK)
    here = in_frame < tokens_per_frame
    inside = here[:, None] & (channel < D)[None, :]
    vector = tl.arange(0, BLOCK // 4)
    pair = token[:, None] * (D // 2) + 2 * vector[None, :]
    rotated = here[:, None] & (4 * vector < D)[None, :]
    cos_0 = tl.load(cos_ptr + pair, mask=rotated, other=0.0)
    sin_0 = tl.load(sin_ptr + pair, mask=rotated, other=0.0)
    cos_1 = tl.load(cos_ptr + pair + 1, mask=rotated, other=0.0)
    sin_1 = tl.load(sin_ptr + pair + 1, mask=rotated, other=0.0)
    m = matrix_ptr + (batch * tl.num_programs(1) + frame) * 16
    factor, second_factor = tl.load(factor_ptr), tl.load(factor_ptr + 1)
    at = k_ptr + batch * k_batch + token[:, None] * k_token + channel[None, :]
    scale_at = scale_ptr + batch * scale_batch + token
    out_at = out_ptr + batch * batch_stride + token[:, None] * token_stride + channel[None, :]
    for _ in range(heads):
        scale = tl.load(scale_at, mask=here, other=0.0).to(tl.float32)
        x = tl.load(at, mask=inside, other=0).to(tl.float32) * scale[:, None]
        even, odd = tl.split(tl.reshape(x, (T, BLOCK // 4, 2, 2)))
        x0, x2 = tl.split(even)
        x1, x3 = tl.split(odd)
        p0, p1, p2, p3 = fused._times_matrix(m, x0, x1, x2, x3)
        x0, x1 = x0 * cos_0 - x1 * sin_0, x0 * sin_0 + x1 * cos_0
        x2, x3 = x2 * cos_1 - x3 * sin_1, x2 * sin_1 + x3 * cos_1
        x = tl.reshape(tl.join(tl.join(x0, x2), tl.join(x1, x3)), (T, BLOCK))
        p = tl.reshape(tl.join(tl.join(p0, p2), tl.join(p1, p3)), (T, BLOCK))
        tl.store(out_at, _to_fp8(x, factor), mask=inside)
        tl.store(out_at + branch_stride, _to_fp8(p, second_factor), mask=inside)
        at += k_head
        scale_at += scale_head
        out_at += head_stride


@triton.jit
def _spread_values(
    v_ptr, scale_ptr, matrix_ptr, factor_ptr, out_ptr, tokens_per_frame, heads, frames,
    v_batch, v_head, v_channel, scale_batch, scale_head, branch_stride, batch_stride, head_stride, channel_stride,
    VECTORS: tl.constexpr, BLOCK: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    frame, batch = tl.program_id(1) // heads, tl.program_id(2).to(tl.int64)
    head = (tl.program_id(1) % heads).to(tl.int64)
    in_frame = tl.program_id(0) * T + tl.arange(0, T)
    vector = tl.arange(0, BLOCK).to(tl.int64)
    here = in_frame < tokens_per_frame
    inside = (vector < VECTORS)[:, None] & here[None, :]
    token = frame * tokens_per_frame + in_frame
    scale = tl.load(scale_ptr + batch * scale_batch + head * scale_head + token, mask=here, other=0.0)
    scale = scale.to(tl.float32)[None, :]
    at = v_ptr + batch * v_batch + head * v_head + (4 * vector * v_channel)[:, None] + token[None, :]
    x0 = tl.load(at, mask=inside, other=0).to(tl.float32) * scale
    x1 = tl.load(at + v_channel, mask=inside, other=0).to(tl.float32) * scale
    x2 = tl.load(at + 2 * v_channel, mask=inside, other=0).to(tl.float32) * scale
    x3 = tl.load(at + 3 * v_channel, mask=inside, other=0).to(tl.float32) * scale
    factor = tl.load(factor_ptr)
    at = out_ptr + batch * batch_stride + head * head_stride
    at += (4 * vector * channel_stride)[:, None] + token[None, :]
    tl.store(at, _to_fp8(x0, factor), mask=inside)
    tl.store(at + channel_stride, _to_fp8(x1, factor), mask=inside)
    tl.store(at + 2 * channel_stride, _to_fp8(x2, factor), mask=inside)
    tl.store(at + 3 * channel_stride, _to_fp8(x3, factor), mask=inside)
    p0, p1, p2, p3 = fused._times_matrix(matrix_ptr + (batch * frames + frame) * 16, x0, x1, x2, x3)
    factor = tl.load(factor_ptr + 1)
    at += branch_stride
    tl.store(at, _to_fp8(p0, factor), mask=inside)
    tl.store(at + channel_stride, _to_fp8(p1, factor), mask=inside)
    tl.store(at + 2 * channel_stride, _to_fp8(p2, factor), mask=inside)
    tl.store(at + 3 * channel_stride, _to_fp8(p3, factor), mask=inside)


@triton.jit
def _to_fp8(x, factor):
    return tl.minimum(tl.maximum(x * factor, -_FP8_MAX), _FP8_MAX).to(tl.float8e4nv)
