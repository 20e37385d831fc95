"""The functions of a block between its matrix products: plain PyTorch, the reference for the Triton ones of `fused`.

Shape suffixes: B batch, F frames, S tokens per frame, N = F * S, H heads, D head dim, E = H * D.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..fp8 import Rounded
from .exchange import Exchange
from .prope import apply_projection
from .rope import apply_rope

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Scaled dot-product attention over `[batch, heads, tokens, head dim]`, no mask."""

Projection = Callable[[Tensor, Tensor], Tensor]
"""`apply_projection`, or another way to compute the same."""

RopeTables = tuple[Tensor, Tensor]
"""Cosines and sines `[F, S, D // 2]`."""


def sdpa(q_BHND: Tensor, k_BHND: Tensor, v_BHND: Tensor) -> Tensor:
    """PyTorch's attention: the default, exact on every device."""
    return F.scaled_dot_product_attention(q_BHND, k_BHND, v_BHND)


def modulated_norm(
    x_BFSE: Tensor, shift: Tensor, scale: Tensor, eps: float, *, to_fp8: bool = False
) -> Tensor | Rounded:
    """LayerNorm without affine, `* (1 + scale) + shift` (float32 `[B, F, 1, E]`), in float32; returned in x's dtype.

    to_fp8: only `Fp8Linear`s read it, which round it themselves if this function does not.
    """
    return (F.layer_norm(x_BFSE.float(), x_BFSE.shape[-1:], eps=eps) * (1 + scale) + shift).to(x_BFSE.dtype)


def gated_add(x_BFSE: Tensor, update: Tensor, gate: Tensor) -> Tensor:
    """`x + update * gate` in float32, returned in x's dtype; gate: float32 `[B, F, 1, E]`."""
    return (x_BFSE.float() + update.float() * gate).to(x_BFSE.dtype)


def gated_add_norm(
    x_BFSE: Tensor,
    updates: tuple[Tensor, ...],
    gate: Tensor,
    norm: Callable[[Tensor], Tensor],
    *,
    to_fp8: bool = False,
) -> tuple[Tensor, Tensor | Rounded]:
    """`gated_add` of the sum of one or two `updates`, and its LayerNorm by `norm`; for to_fp8 see `modulated_norm`."""
    x = gated_add(x_BFSE, sum(updates[1:], updates[0]), gate)
    return x, norm(x)


def add_modulated_norm(
    x_BFSE: Tensor, update: Tensor, shift: Tensor, scale: Tensor, eps: float, *, to_fp8: bool = False
) -> tuple[Tensor, Tensor | Rounded]:
    """`x + update`, and its `modulated_norm`."""
    x = x_BFSE + update
    return x, modulated_norm(x, shift, scale, eps)


def branches(
    x_BFSE: Tensor,
    heads: int,
    norm: nn.Module | None,
    rope: RopeTables | None,
    matrix: Tensor | None,
    out: Tensor | None = None,
    *,
    projection: Projection = apply_projection,
) -> Tensor:
    """Queries, keys or values `[2B, H, N, D]` of both attention branches from projected `x`, RoPE branch first.

    Without cameras (no matrix) `[B, H, N, D]` of the RoPE branch, the only one.

    norm: RMS norm over all heads together; None for values.
    rope: tables of the RoPE branch; None for values, which are not rotated.
    matrix: `[B, F, 4, 4]` of the PRoPE branch, applied by `projection`.
    out: the tensor to write into, D contiguous.
    """
    x = (x_BFSE if norm is None else norm(x_BFSE)).unflatten(-1, (heads, -1))
    turned = x if rope is None else apply_rope(x, *rope)
    if matrix is not None:
        turned = torch.cat((turned, projection(x, matrix)))
    result = rearrange(turned, "B F S H D -> B H (F S) D")
    return result if out is None else out.copy_(result)


def project(
    x_BHND: Tensor, matrix: Tensor, *, to_fp8: bool = False, projection: Projection = apply_projection
) -> Tensor | Rounded:
    """Heads `[B, H, N, D]` times the matrix `[B, F, 4, 4]` of their frame: `[B, F, S, E]`.

    For to_fp8 see `modulated_norm`.
    """
    x = rearrange(x_BHND, "B H (F S) D -> B F S H D", F=matrix.shape[1])
    return projection(x, matrix).flatten(-2)


def camera_heads(
    x_BFSE: Tensor,
    heads: int,
    norm: nn.Module | None,
    matrix: Tensor,
    *,
    projection: Projection = apply_projection,
) -> Tensor:
    """Queries, keys or values `[B, H, N, D]` of a camera branch of its own; arguments as those of `branches`."""
    x = (x_BFSE if norm is None else norm(x_BFSE)).unflatten(-1, (heads, -1))
    return rearrange(projection(x, matrix), "B F S H D -> B H (F S) D")


def feed_forward(ffn: nn.Sequential, x_BFSE: Tensor | Rounded) -> Tensor:
    """Linear, GELU, Linear."""
    return ffn(x_BFSE)


class Fp8Kernels(NamedTuple):
    """The functions of self-attention in fp8, see `fp8_attention`, and of its memory, see `EightBitSlot`."""

    branches: Callable[..., Tensor]
    values: Callable[..., Tensor]
    attend: Callable[..., Tensor]
    keep: Callable[..., None]
    spread: Callable[..., None]


class Kernels(NamedTuple):
    """The functions a block runs with; the defaults are the plain ones.

    fp8: self-attention's, if it is to be in fp8; `attend` is then for cross-attention alone.
    exchange: with the other processes that share every forward, if there are any.
    """

    attend: Attend = sdpa
    modulated_norm: Callable[..., Tensor | Rounded] = modulated_norm
    gated_add: Callable[[Tensor, Tensor, Tensor], Tensor] = gated_add
    gated_add_norm: Callable[..., tuple[Tensor, Tensor | Rounded]] = gated_add_norm
    add_modulated_norm: Callable[..., tuple[Tensor, Tensor | Rounded]] = add_modulated_norm
    branches: Callable[..., Tensor] = branches
    project: Callable[..., Tensor | Rounded] = project
    camera_heads: Callable[..., Tensor] = camera_heads
    feed_forward: Callable[[nn.Sequential, Tensor | Rounded], Tensor] = feed_forward
    fp8: Fp8Kernels | None = None
    exchange: Exchange | None = None

    @property
    def ranks(self) -> int:
        """How many processes share every forward."""
        return 1 if self.exchange is None else self.exchange.ranks


PLAIN = Kernels()
