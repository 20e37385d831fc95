"""Attention in parts: results over some of the keys, put together by their sums (Triton)."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

TOKENS = 64
"""Queries that a program of `join` puts together."""

MOST_SPLITS, PRICE_OF_A_SPLIT = 4, 0.04
"""The price of putting one more part together, as a share of the time; measured on an H200."""


def splits_for(programs: int, steps: int, at_once: int) -> int:
    """Into how many parts to split `steps` so that `programs`, `at_once` of which run together, end together."""

    def idle(splits: int) -> float:
        share = programs * splits / at_once
        return math.ceil(share) / share + PRICE_OF_A_SPLIT * (splits - 1)

    return min(range(1, min(MOST_SPLITS, steps) + 1), key=idle)


@lru_cache(maxsize=8)
def multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def join(parts: Tensor, sums: Tensor, out: Tensor) -> None:
    """Write the mean of `parts` `[splits, B, H, N, D]`, weighted by their sums, into `out` `[B, H, N, D]`.

    sums: base-2 logarithms of the softmax's denominators, float32 `[splits, B, H, N]`, contiguous.
    """
    splits, B, H, N, D = parts.shape
    _join[(triton.cdiv(N, TOKENS), B * H)](
        parts, sums, out, N, H, B * H * N, *parts.stride()[:4], *out.stride()[:3],
        D, triton.next_power_of_2(D), TOKENS, splits, num_warps=4,
    )  # fmt: skip


@triton.jit
def _join(
    parts_ptr, sums_ptr, out_ptr, N, heads, rows,
    split_stride, part_batch, part_head, part_token, out_batch, out_head, out_token,
    D: tl.constexpr, BLOCK: tl.constexpr, T: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    batch, head = (tl.program_id(1) // heads).to(tl.int64), (tl.program_id(1) % heads).to(tl.int64)
    token = tl.program_id(0) * T + tl.arange(0, T)
    channel = tl.arange(0, BLOCK)
    here, inside = token < N, (token < N)[:, None] & (channel < D)[None, :]
    sums_at = sums_ptr + tl.program_id(1).to(tl.int64) * N + token
    parts_at = parts_ptr + batch * part_batch + head * part_head + token[:, None] * part_token + channel[None, :]
    largest = tl.full((T,), float("-inf"), tl.float32)
    for split in tl.static_range(SPLITS):
        largest = tl.maximum(largest, tl.load(sums_at + split * rows, mask=here, other=0.0))
    total = tl.zeros((T,), tl.float32)
    out = tl.zeros((T, BLOCK), tl.float32)
    for split in tl.static_range(SPLITS):
        weight = tl.exp2(tl.load(sums_at + split * rows, mask=here, other=0.0) - largest)
        part = tl.load(parts_at + split * split_stride, mask=inside, other=0.0)
        total += weight
        out += weight[:, None] * part.to(tl.float32)
    out_at = out_ptr + batch * out_batch + head * out_head + token[:, None] * out_token + channel[None, :]
    tl.store(out_at, (out / total[:, None]).to(out_ptr.dtype.element_ty), mask=inside)
