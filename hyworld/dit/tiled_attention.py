"""PyTorch's attention over whole tiles, joined by a Triton kernel to what is left over.

cuDNN's kernel for Hopper takes 128 queries and 128 keys at a time. Keys that do not fill their last tile cost a tenth
of all its time, and a few queries over may cost the card one more turn. Same numbers but for the order of sums; the
plain twin is `kernels.sdpa`.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.attention import SDPBackend

from .attention_parts import join, multiprocessors
from .kernels import sdpa

TILE = 128
"""Of cuDNN's kernel, both ways."""

LEAST_KEYS = 32 * TILE
"""Below, the launches of what is left over cost as much as is gained."""

QUERIES, KEYS = 64, 64
"""Of a program for what is left over, and of one of its steps."""


def gains_on(device: torch.device) -> bool:
    """Whether cuDNN's kernel there is the one that this is for; measured on an H200."""
    return torch.version.hip is None and torch.cuda.get_device_capability(device) == (9, 0)


def attend(q_BHND: Tensor, k_BHND: Tensor, v_BHND: Tensor) -> Tensor:
    """See `kernels.Attend`."""
    (B, H, M, _), N = q_BHND.shape, k_BHND.shape[2]
    # torch.compile knows no way through the choice.
    if N < LEAST_KEYS or N % TILE == 0 or torch.compiler.is_compiling() or not _cudnn_would(q_BHND, k_BHND, v_BHND):
        return sdpa(q_BHND, k_BHND, v_BHND)
    queries = whole_queries(M, B * H, multiprocessors(q_BHND.device))
    keys = N - N % TILE
    known, logarithms, *_ = torch.ops.aten._scaled_dot_product_cudnn_attention(
        q_BHND[:, :, :queries], k_BHND[:, :, :keys], v_BHND[:, :, :keys], None, True
    )
    return completed(q_BHND, k_BHND, v_BHND, known, logarithms)


def _cudnn_would(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether PyTorch would take cuDNN's kernel."""
    return torch._fused_sdp_choice(q, k, v) == SDPBackend.CUDNN_ATTENTION.value


def whole_queries(queries: int, heads: int, at_once: int) -> int:
    """How many of the queries to give cuDNN: whole tiles, if the last part of one costs a turn of `at_once` tiles.

    heads: of the whole batch.
    """
    over = queries % TILE
    turns, without = (math.ceil(tiles * heads / at_once) for tiles in (math.ceil(queries / TILE), queries // TILE))
    return queries - over if queries > over and without < turns else queries


def completed(q_BHND: Tensor, k_BHND: Tensor, v_BHND: Tensor, known: Tensor, logarithms: Tensor) -> Tensor:
    """Attention of all queries to all keys, `[B, H, M, D]`.

    known: of the first queries to the keys up to the last whole tile, `[B, H, m, D]`.
    logarithms: of the denominators of their softmax, float32 `[B, H, m, 1]`.
    """
    (B, H, M, D), N, queries = q_BHND.shape, k_BHND.shape[2], known.shape[2]
    # Token-major, so that it can be read as rows without a copy.
    out = q_BHND.new_empty(B, M, H, D).transpose(1, 2)
    _rest(q_BHND[:, :, :queries], k_BHND, v_BHND, N - N % TILE, out[None, :, :, :queries], None, (known, logarithms))
    if queries < M:
        left = q_BHND[:, :, queries:]
        # Few queries and all keys: parts of these run side by side.
        splits = min(triton.cdiv(2 * multiprocessors(left.device), B * H), triton.cdiv(N, TILE))
        parts = left.new_empty(splits, B, M - queries, H, D, dtype=torch.float32).transpose(2, 3)
        sums = left.new_empty(splits, B, H, M - queries, dtype=torch.float32)
        _rest(left, k_BHND, v_BHND, 0, parts, sums, None)
        join(parts, sums, out[:, :, queries:])
    return out


def _rest(
    q: Tensor, k: Tensor, v: Tensor, first: int, parts: Tensor, sums: Tensor | None, known: tuple[Tensor, Tensor] | None
) -> None:
    """Attention to the keys from `first` on, in as many parts as `parts` has, or joined to what is known."""
    (B, H, M, D), N, splits = q.shape, k.shape[2], len(parts)
    per_split = triton.cdiv(triton.cdiv(N - first, KEYS), splits) * KEYS
    assert (splits - 1) * per_split < N - first, "no part is empty"
    known_out, logarithms = known or (parts[0], parts[0, ..., :1])
    _attend_rest[(triton.cdiv(M, QUERIES), B * H, splits)](
        q, k, v, known_out, logarithms, parts, parts if sums is None else sums,
        math.log2(math.e) / math.sqrt(D), M, first, N, per_split, H,
        *q.stride()[:3], *k.stride()[:3], *v.stride()[:3], *known_out.stride()[:3], *logarithms.stride()[:3],
        *parts.stride()[:4],
        D, triton.next_power_of_2(D), QUERIES, KEYS, known is not None, sums is not None, num_warps=4,
    )  # fmt: skip


@triton.jit
def _attend_rest(
    q_ptr, k_ptr, v_ptr, known_ptr, logarithm_ptr, parts_ptr, sums_ptr, scale, M, first, N, per_split, heads,
    q_batch, q_head, q_token, k_batch, k_head, k_token, v_batch, v_head, v_token,
    known_batch, known_head, known_token, log_batch, log_head, log_token,
    part_split, part_batch, part_head, part_token,
    D: tl.constexpr, BLOCK: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
    KNOWN: tl.constexpr, SUMS: tl.constexpr,
):  # fmt: skip
    batch, head = (tl.program_id(1) // heads).to(tl.int64), (tl.program_id(1) % heads).to(tl.int64)
    split = tl.program_id(2)
    query = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    channel = tl.arange(0, BLOCK)
    here, inside = query < M, (query < M)[:, None] & (channel < D)[None, :]
    at = q_ptr + batch * q_batch + head * q_head + query[:, None] * q_token + channel[None, :]
    q = tl.load(at, mask=inside, other=0.0)
    if KNOWN:
        at = logarithm_ptr + batch * log_batch + head * log_head + query * log_token
        largest = tl.load(at, mask=here, other=0.0) * 1.4426950408889634
        total = tl.full((QUERIES,), 1.0, tl.float32)
        at = known_ptr + batch * known_batch + head * known_head + query[:, None] * known_token + channel[None, :]
        out = tl.load(at, mask=inside, other=0.0).to(tl.float32)
    else:
        largest = tl.full((QUERIES,), float("-inf"), tl.float32)
        total = tl.zeros((QUERIES,), tl.float32)
        out = tl.zeros((QUERIES, BLOCK), tl.float32)
    begin = first + split * per_split
    last = tl.minimum(N, begin + per_split)
    for start in range(begin, last, KEYS):
        key = start + tl.arange(0, KEYS)
        here_k = key < last
        at = k_ptr + batch * k_batch + head * k_head + key[None, :] * k_token + channel[:, None]
        k = tl.load(at, mask=here_k[None, :] & (channel < D)[:, None], other=0.0)
        at = v_ptr + batch * v_batch + head * v_head + key[:, None] * v_token + channel[None, :]
        v = tl.load(at, mask=here_k[:, None] & (channel < D)[None, :], other=0.0)
        scores = tl.where(here_k[None, :], tl.dot(q, k) * scale, float("-inf"))
        new = tl.maximum(largest, tl.max(scores, 1))
        weights = tl.exp2(scores - new[:, None])
        shrink = tl.exp2(largest - new)
        total = total * shrink + tl.sum(weights, 1)
        out = tl.dot(weights.to(v.dtype), v, out * shrink[:, None])
        largest = new
    at = parts_ptr + split.to(tl.int64) * part_split + batch * part_batch + head * part_head
    at += query[:, None] * part_token + channel[None, :]
    tl.store(at, (out / total[:, None]).to(parts_ptr.dtype.element_ty), mask=inside)
    if SUMS:
        row = (split * tl.num_programs(1) + tl.program_id(1)).to(tl.int64) * M + query
        tl.store(sums_ptr + row, largest + tl.log2(total), mask=here)
