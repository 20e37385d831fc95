"""PyTorch's attention over whole tiles of keys, joined by a Triton kernel to that over what is left.

cuDNN's kernel for Hopper takes 128 keys at a time. Keys that do not fill the last tile cost a tenth of all its time.
Same numbers but for the order of sums; the plain twin is `kernels.sdpa`.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.attention import SDPBackend

from .kernels import sdpa

TILE = 128
"""Keys that cuDNN's kernel takes at a time."""

LEAST_KEYS = 32 * TILE
"""Below, the launch for what is left costs as much as is gained."""

QUERIES, KEYS = 64, 64
"""Of a program for what is left, and of one of its steps."""


def gains_on(device: torch.device) -> bool:
    """Whether cuDNN's kernel there is the one that this is for; measured on an H200."""
    return torch.version.hip is None and torch.cuda.get_device_capability(device) == (9, 0)


def attend(q_BHND: Tensor, k_BHND: Tensor, v_BHND: Tensor) -> Tensor:
    """See `kernels.Attend`."""
    N = k_BHND.shape[2]
    # torch.compile knows no way through the choice.
    if N < LEAST_KEYS or N % TILE == 0 or torch.compiler.is_compiling() or not _cudnn_would(q_BHND, k_BHND, v_BHND):
        return sdpa(q_BHND, k_BHND, v_BHND)
    whole = N - N % TILE
    known, logarithms, *_ = torch.ops.aten._scaled_dot_product_cudnn_attention(
        q_BHND, k_BHND[:, :, :whole], v_BHND[:, :, :whole], None, True
    )
    return completed(q_BHND, k_BHND, v_BHND, known, logarithms)


def _cudnn_would(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether PyTorch would take cuDNN's kernel."""
    return torch._fused_sdp_choice(q, k, v) == SDPBackend.CUDNN_ATTENTION.value


def completed(q_BHND: Tensor, k_BHND: Tensor, v_BHND: Tensor, known: Tensor, logarithms: Tensor) -> Tensor:
    """Attention to all keys, `[B, H, M, D]`.

    known: to those up to the last whole tile, likewise.
    logarithms: of the denominators of their softmax, float32 `[B, H, M, 1]`.
    """
    (B, H, M, D), N = q_BHND.shape, k_BHND.shape[2]
    # Token-major, so that it can be read as rows without a copy.
    out = q_BHND.new_empty(B, M, H, D).transpose(1, 2)
    _attend_rest[(triton.cdiv(M, QUERIES), B * H)](
        q_BHND, k_BHND, v_BHND, known, logarithms, out, math.log2(math.e) / math.sqrt(D), M, N - N % TILE, N, H,
        *q_BHND.stride()[:3], *k_BHND.stride()[:3], *v_BHND.stride()[:3], *known.stride()[:3],
        *logarithms.stride()[:3], *out.stride()[:3],
        D, triton.next_power_of_2(D), QUERIES, KEYS, num_warps=4,
    )  # fmt: skip
    return out


@triton.jit
def _attend_rest(
    q_ptr, k_ptr, v_ptr, known_ptr, logarithm_ptr, out_ptr, scale, M, first, N, heads,
    q_batch, q_head, q_token, k_batch, k_head, k_token, v_batch, v_head, v_token,
    known_batch, known_head, known_token, log_batch, log_head, log_token, out_batch, out_head, out_token,
    D: tl.constexpr, BLOCK: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    batch, head = (tl.program_id(1) // heads).to(tl.int64), (tl.program_id(1) % heads).to(tl.int64)
    query = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    channel = tl.arange(0, BLOCK)
    here, inside = query < M, (query < M)[:, None] & (channel < D)[None, :]
    at = q_ptr + batch * q_batch + head * q_head + query[:, None] * q_token + channel[None, :]
    q = tl.load(at, mask=inside, other=0.0)
    at = logarithm_ptr + batch * log_batch + head * log_head + query * log_token
    largest = tl.load(at, mask=here, other=0.0) * 1.4426950408889634
    total = tl.full((QUERIES,), 1.0, tl.float32)
    at = known_ptr + batch * known_batch + head * known_head + query[:, None] * known_token + channel[None, :]
    out = tl.load(at, mask=inside, other=0.0).to(tl.float32)
    for begin in range(first, N, KEYS):
        key = begin + tl.arange(0, KEYS)
        at = k_ptr + batch * k_batch + head * k_head + key[None, :] * k_token + channel[:, None]
        k = tl.load(at, mask=(key < N)[None, :] & (channel < D)[:, None], other=0.0)
        at = v_ptr + batch * v_batch + head * v_head + key[:, None] * v_token + channel[None, :]
        v = tl.load(at, mask=(key < N)[:, None] & (channel < D)[None, :], other=0.0)
        scores = tl.where((key < N)[None, :], tl.dot(q, k) * scale, float("-inf"))
        new = tl.maximum(largest, tl.max(scores, 1))
        weights = tl.exp2(scores - new[:, None])
        shrink = tl.exp2(largest - new)
        total = total * shrink + tl.sum(weights, 1)
        out = tl.dot(weights.to(v.dtype), v, out * shrink[:, None])
        largest = new
    at = out_ptr + batch * out_batch + head * out_head + query[:, None] * out_token + channel[None, :]
    tl.store(at, (out / total[:, None]).to(out_ptr.dtype.element_ty), mask=inside)
