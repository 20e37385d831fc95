"""Self-attention in fp8: plain PyTorch, the reference for the Triton kernels of `fused_attention`.

Queries, keys and values are multiplied by a factor of their branch and rounded to float8_e4m3fn. The factors only keep
the numbers inside fp8's range: it is a floating-point format, so that finer scales gain nothing. Values lie transposed,
`[RB, H, D, N]`: the tensor cores read fp8 along the axis that is summed over.

Shape suffixes as in `kernels`; R branches, stacked along the batch axis.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..fp8 import FP8, FP8_MAX
from . import kernels
from .eight_bit import Kept, keep, projected
from .kernels import Fp8Kernels, RopeTables

QUERY_FACTOR, KEY_FACTOR, VALUE_FACTOR = 2.0, 8.0, 4.0
"""Normed queries and keys are around 1, values a little below or above. Largest numbers: 224, 56 and 112; below 1/128,
1/512 and 1/256 precision falls."""

WEIGHT_FACTOR = 256.0
"""Of the softmax's numerators, which are at most 1."""


class Factors(NamedTuple):
    """What queries, keys and values are multiplied by before rounding: float32 `[R]` each."""

    q: Tensor
    k: Tensor
    v: Tensor


def fixed_factors(device: torch.device) -> Factors:
    """Of a network without cameras."""
    return Factors(*(torch.full((1,), factor, device=device) for factor in (QUERY_FACTOR, KEY_FACTOR, VALUE_FACTOR)))


def camera_factors(q_matrix: Tensor, kv_matrix: Tensor) -> Factors:
    """Of a network with cameras: those of the PRoPE branch are smaller by as much as matrices enlarge a number.

    q_matrix, kv_matrix: `[B, F, 4, 4]`, see `CameraProjections`.
    """
    q, kv = (_room(matrix) for matrix in (q_matrix, kv_matrix))
    return Factors(QUERY_FACTOR * q, KEY_FACTOR * kv, VALUE_FACTOR * kv)


def _room(matrix: Tensor) -> Tensor:
    longest_row = matrix.square().sum(dim=-1).amax().sqrt().clamp(min=1)
    return torch.stack((torch.ones_like(longest_row), 1 / longest_row))


def rounded(x_BHND: Tensor, factors: Tensor) -> Tensor:
    """`x` of all branches, times their factors, as float8_e4m3fn."""
    return (x_BHND.float() * _by_branch(factors, x_BHND)).clamp_(-FP8_MAX, FP8_MAX).to(FP8)


def _by_branch(factors: Tensor, x: Tensor) -> Tensor:
    return factors.repeat_interleave(len(x) // len(factors))[:, None, None, None]


def branches(
    x_BFSE: Tensor,
    heads: int,
    norm: nn.Module | None,
    rope: RopeTables | None,
    matrix: Tensor | None,
    out: Tensor | None,
    factors: Tensor,
) -> Tensor:
    """See `kernels.branches`: queries or keys, rounded."""
    result = rounded(kernels.branches(x_BFSE, heads, norm, rope, matrix), factors)
    return result if out is None else out.copy_(result)


def values(x_BFSE: Tensor, heads: int, matrix: Tensor | None, out: Tensor | None, factors: Tensor) -> Tensor:
    """Values of all branches, rounded and transposed: `[RB, H, D, N]`."""
    result = rounded(kernels.branches(x_BFSE, heads, None, None, matrix), factors).transpose(-1, -2).contiguous()
    return result if out is None else out.copy_(result)


def spread(kept: Kept, rope: RopeTables, matrix: Tensor, out: tuple[Tensor, Tensor], factors: Factors) -> None:
    """Write keys and values of both branches, made of what is kept in 8 bits, into `out`."""
    k, v = projected(kept, matrix.shape[1])
    heads = kept.k.shape[1]
    branches(k, heads, None, rope, matrix, out[0], factors.k)
    values(v, heads, matrix, out[1], factors.v)


def attend(q_BHND: Tensor, k_BHND: Tensor, v_BHDN: Tensor, factors: Factors, dtype: torch.dtype) -> Tensor:
    """Scaled dot-product attention over all branches, `[RB, H, N, D]` in `dtype`; the softmax's numerators are rounded,
    too."""
    q, k, v = (x.float() / _by_branch(f, x) for x, f in zip((q_BHND, k_BHND, v_BHDN), factors, strict=True))
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    weights = (scores - scores.amax(dim=-1, keepdim=True)).exp()
    products = (weights * WEIGHT_FACTOR).to(FP8).float() @ v.transpose(-1, -2)
    return (products / (WEIGHT_FACTOR * weights.sum(dim=-1, keepdim=True))).to(dtype)


PLAIN_FP8 = Fp8Kernels(branches, values, attend, keep, spread)
