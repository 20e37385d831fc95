"""The functions of `fp8_attention` as Triton kernels."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..fp8 import FP8, FP8_MAX
from . import fused, fused_eight_bit
from .attention_parts import join, multiprocessors, splits_for
from .fp8_attention import WEIGHT_FACTOR, Factors
from .kernels import Fp8Kernels

_FP8_MAX = tl.constexpr(FP8_MAX)
_LOG2_WEIGHT = tl.constexpr(math.log2(WEIGHT_FACTOR))

TOKENS = 64
"""Values that a program transposes at a time."""

QUERIES, KEYS = 64, 128
"""Of a program of `attend` and of one of its steps; measured on an H200."""

_TO_16_BYTES = 16


def kernels() -> Fp8Kernels:
    return Fp8Kernels(fused.branches, values, attend, fused_eight_bit.keep, fused_eight_bit.spread)


def values(x_BFSE: Tensor, heads: int, matrix: Tensor | None, out: Tensor | None, factors: Tensor) -> Tensor:
    x = x_BFSE if fused.even_rows(x_BFSE) else x_BFSE.contiguous()
    B, num_frames, S, E = x.shape
    D, N = E // heads, num_frames * S
    if out is None:
        padded = triton.cdiv(N, _TO_16_BYTES) * _TO_16_BYTES
        out = x.new_zeros(len(factors) * B, heads, D, padded, dtype=FP8)[..., :N]
    _values[(triton.cdiv(N, TOKENS), heads, B)](
        x, x if matrix is None else matrix.contiguous(), factors, out, N, S, x.stride(2),
        B * out.stride(0), out.stride(0), out.stride(1), out.stride(2),
        D, triton.next_power_of_2(D), TOKENS, matrix is not None,
    )  # fmt: skip
    return out


def attend(
    q_BHND: Tensor, k_BHND: Tensor, v_BHDN: Tensor, factors: Factors, dtype: torch.dtype, splits: int | None = None
) -> Tensor:
    """See `fp8_attention.attend`.

    splits: parts of the keys whose results are put together at the end; None: as many as fill the card best.
    """
    q, k, v = q_BHND, _fetchable(k_BHND), _fetchable(v_BHDN)
    (B, H, M, D), N = q.shape, k.shape[2]
    tiles, steps = triton.cdiv(M, QUERIES), triton.cdiv(N, KEYS)
    if splits is None:
        # Two to a multiprocessor: what its shared memory holds.
        splits = splits_for(tiles * B * H, steps, 2 * multiprocessors(q.device))
    per_split = triton.cdiv(steps, splits)
    splits = triton.cdiv(steps, per_split)  # none is empty
    # Token-major, so that the output can be read as rows without a copy.
    parts = torch.empty(splits, B, M, H, D, device=q.device, dtype=dtype).transpose(2, 3)
    sums = torch.empty(splits if splits > 1 else 0, B, H, M, device=q.device, dtype=torch.float32)
    triton.set_allocator(_scratch)
    _attend[(tiles, B * H, splits)](
        q, k, v, parts, sums, *factors,
        math.log2(math.e) / math.sqrt(D), M, N, H, B // len(factors.q), per_split * KEYS,
        *q.stride()[:3], *k.stride()[:3], *v.stride()[:3], *parts.stride()[:4],
        D, max(32, triton.next_power_of_2(D)), QUERIES, KEYS, splits > 1,
        num_warps=_warps(q.device), num_stages=_stages(q.device),
    )  # fmt: skip
    if splits == 1:
        return parts[0]
    out = torch.empty(B, M, H, D, device=q.device, dtype=dtype).transpose(1, 2)
    join(parts, sums, out)
    return out


def _fetchable(x: Tensor) -> Tensor:
    """`x`, or a copy of it, laid out as a GPU's copy engine fetches tiles of it: beginnings of rows at 16 bytes."""
    if x.data_ptr() % _TO_16_BYTES == 0 and not any(stride % _TO_16_BYTES for stride in x.stride()[:-1]):
        return x
    length = x.shape[-1]
    rows = x.new_zeros(*x.shape[:-1], triton.cdiv(length, _TO_16_BYTES) * _TO_16_BYTES)
    return rows[..., :length].copy_(x)


def _scratch(size: int, alignment: int, stream: int | None) -> Tensor:
    """Memory in which Triton describes tiles to the copy engine."""
    return torch.empty(size, device=torch.cuda.current_device(), dtype=torch.int8)


@lru_cache(maxsize=8)
def _stages(device: torch.device) -> int:
    """Steps whose keys and values are on their way at a time; three take 104 kB at a head dim of 128."""
    if device.type != "cuda":
        return 1
    index = torch.cuda.current_device() if device.index is None else device.index
    room = triton.runtime.driver.active.utils.get_device_properties(index)["max_shared_mem"]
    return 3 if room > 110_000 else 2


@lru_cache(maxsize=8)
def _warps(device: torch.device) -> int:
    """Hopper's tensor cores are fed by four; elsewhere four would keep 80 numbers each outside their registers."""
    return 4 if device.type != "cuda" or torch.cuda.get_device_capability(device)[0] == 9 else 8


@triton.jit
def _values(
    x_ptr, matrix_ptr, factor_ptr, out_ptr, tokens, tokens_per_frame, x_stride,
    branch_stride, batch_stride, head_stride, channel_stride,
    D: tl.constexpr, BLOCK: tl.constexpr, T: tl.constexpr, CAMERAS: tl.constexpr,
):  # fmt: skip
    head, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    token = tl.program_id(0) * T + tl.arange(0, T)
    channel = tl.arange(0, BLOCK)
    inside = (token < tokens)[:, None] & (channel < D)[None, :]
    row = batch * tokens + token
    x = tl.load(x_ptr + row[:, None] * x_stride + (head * D + channel)[None, :], mask=inside, other=0.0).to(tl.float32)
    out = out_ptr + batch * batch_stride + head.to(tl.int64) * head_stride
    out += channel.to(tl.int64)[:, None] * channel_stride + token[None, :]
    whole = (tl.program_id(0) + 1) * T <= tokens
    _store_all(out, tl.trans(_rounded(x, tl.load(factor_ptr))), tl.trans(inside), whole, D == BLOCK)
    if CAMERAS:
        even, odd = tl.split(tl.reshape(x, (T, BLOCK // 4, 2, 2)))
        x0, x2 = tl.split(even)
        x1, x3 = tl.split(odd)
        m = matrix_ptr + row // tokens_per_frame * 16
        here = token < tokens
        p0 = _row_times(m, here, x0, x1, x2, x3)
        p1 = _row_times(m + 4, here, x0, x1, x2, x3)
        p2 = _row_times(m + 8, here, x0, x1, x2, x3)
        p3 = _row_times(m + 12, here, x0, x1, x2, x3)
        p = tl.reshape(tl.join(tl.join(p0, p2), tl.join(p1, p3)), (T, BLOCK))
        rounded = tl.trans(_rounded(p, tl.load(factor_ptr + 1)))
        _store_all(out + branch_stride, rounded, tl.trans(inside), whole, D == BLOCK)


@triton.jit
def _store_all(at, x, inside, whole, EVEN: tl.constexpr):
    """A mask whose end is not known to be even would make this one byte at a time."""
    if EVEN:
        if whole:
            tl.store(at, x)
        else:
            tl.store(at, x, mask=inside)
    else:
        tl.store(at, x, mask=inside)


@triton.jit
def _row_times(m, here, x0, x1, x2, x3):
    """One row of each token's matrix times the vectors whose components are x0..x3."""
    m0, m1 = tl.load(m, mask=here, other=0.0)[:, None], tl.load(m + 1, mask=here, other=0.0)[:, None]
    m2, m3 = tl.load(m + 2, mask=here, other=0.0)[:, None], tl.load(m + 3, mask=here, other=0.0)[:, None]
    return m0 * x0 + m1 * x1 + m2 * x2 + m3 * x3


@triton.jit
def _rounded(x, factor):
    return tl.minimum(tl.maximum(x * factor, -_FP8_MAX), _FP8_MAX).to(tl.float8e4nv)


@triton.jit
def _attend(
    q_ptr, k_ptr, v_ptr, out_ptr, sums_ptr, q_factor_ptr, k_factor_ptr, v_factor_ptr,
    scale, M, N, heads, batches, per_split,
    q_batch, q_head, q_token, k_batch, k_head, k_token, v_batch, v_head, v_channel,
    out_split, out_batch, out_head, out_token,
    D: tl.constexpr, BLOCK: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    batch, head, split = tl.program_id(1) // heads, tl.program_id(1) % heads, tl.program_id(2)
    branch = batch // batches
    batch, head = batch.to(tl.int64), head.to(tl.int64)
    scale = scale / (tl.load(q_factor_ptr + branch) * tl.load(k_factor_ptr + branch))
    query = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    channel = tl.arange(0, BLOCK)
    q_inside = (query < M)[:, None] & (channel < D)[None, :]
    q_at = q_ptr + batch * q_batch + head * q_head + query[:, None] * q_token + channel[None, :]
    q = tl.load(q_at, mask=q_inside, other=0.0)
    k_of_head = k_ptr + batch * k_batch + head * k_head
    v_of_head = v_ptr + batch * v_batch + head * v_head
    # Fetched in another order within every 16: tensor cores give a thread scores of two neighbours, but take weights of
    # four from it. So each weight is made where it is needed.
    keys = tl.make_tensor_descriptor(
        k_of_head, [N // 16, 2, 4, 2, D], [16 * k_token, 2 * k_token, 4 * k_token, k_token, 1],
        [KEYS // 16, 2, 4, 2, BLOCK],
    )  # fmt: skip
    values = tl.make_tensor_descriptor(v_of_head, [D, N], [v_channel, 1], [BLOCK, KEYS])
    largest = tl.full((QUERIES,), float("-inf"), tl.float32)
    shrink = tl.full((QUERIES,), 1.0, tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    product = tl.zeros((QUERIES, BLOCK), tl.float32)
    out = tl.zeros((QUERIES, BLOCK), tl.float32)
    first = split * per_split
    last = tl.minimum(N, first + per_split)
    whole = first + (last - first) // KEYS * KEYS
    for begin in range(first, whole, KEYS):
        scores = tl.dot(q, tl.reshape(keys.load([begin // 16, 0, 0, 0, 0]), (KEYS, BLOCK)).T)
        # Tensor cores keep too few bits of their own sums of fp8 products: over 14,080 keys they lost 14 % of values
        # with a mean. So each step's product is added here; a step later, for that is when it is there.
        out = out * shrink[:, None] + product
        largest, shrink, total, weights = _softmax(scores, scale, largest, total)
        weights = tl.permute(tl.reshape(weights, (QUERIES, KEYS // 16, 2, 4, 2)), (0, 1, 3, 2, 4))
        product = tl.dot(tl.reshape(weights, (QUERIES, KEYS)), values.load([0, begin]).T)
    out = out * shrink[:, None] + product
    if whole < last:
        last_keys = tl.make_tensor_descriptor(k_of_head, [N, D], [k_token, 1], [KEYS, BLOCK])
        inside = whole + tl.arange(0, KEYS) < N
        scores = tl.where(inside[None, :], tl.dot(q, last_keys.load([whole, 0]).T), float("-inf"))
        largest, shrink, total, weights = _softmax(scores, scale, largest, total)
        out = out * shrink[:, None] + tl.dot(weights, values.load([0, whole]).T)
    out = out / (total * tl.load(v_factor_ptr + branch))[:, None]
    out_at = out_ptr + split.to(tl.int64) * out_split + batch * out_batch + head * out_head
    out_at += query[:, None] * out_token + channel[None, :]
    tl.store(out_at, out.to(out_ptr.dtype.element_ty), mask=q_inside)
    if SPLIT:
        row = (split * tl.num_programs(1) + tl.program_id(1)).to(tl.int64) * M + query
        tl.store(sums_ptr + row, largest * scale + tl.log2(total), mask=query < M)


@triton.jit
def _softmax(scores, scale, largest, total):
    """One step of the running softmax: its new state, and the step's weights. `largest` is of the scores unscaled."""
    new = tl.maximum(largest, tl.max(scores, 1))
    weights = tl.exp2(scores * scale - (new * scale - _LOG2_WEIGHT)[:, None])
    shrink = tl.exp2((largest - new) * scale)
    return new, shrink, total * shrink + tl.sum(weights, 1), weights.to(tl.float8e4nv)
