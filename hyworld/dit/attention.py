"""The two attentions of a block: dual-branch self-attention and cross-attention to the text.

Shape suffixes: B batch, F frames, S tokens per frame, N = F * S, H heads, D head dim, E = H * D.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import DiTConfig
from .kv_memory import KVSlot
from .prope import CameraProjections, apply_projection
from .rope import apply_rope

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Scaled dot-product attention over `[batch, heads, tokens, head dim]`, no mask."""


def sdpa(q_BHND: Tensor, k_BHND: Tensor, v_BHND: Tensor) -> Tensor:
    """PyTorch's own attention: the default, exact on every device."""
    return F.scaled_dot_product_attention(q_BHND, k_BHND, v_BHND)


class Positions(NamedTuple):
    """Where the tokens of a forward sit: RoPE tables `[F, S, D // 2]` and the cameras of their frames."""

    cos: Tensor
    sin: Tensor
    cameras: CameraProjections


class _Attention(nn.Module):
    """What both attentions of a block are made of: Wan's projections and its norms of q and k over all heads."""

    def __init__(
        self, config: DiTConfig, *, operations: Any, device: Any = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        dim = config.dim
        factory = {"device": device, "dtype": dtype}
        self.num_heads = config.num_heads
        self.q = operations.Linear(dim, dim, **factory)
        self.k = operations.Linear(dim, dim, **factory)
        self.v = operations.Linear(dim, dim, **factory)
        self.o = operations.Linear(dim, dim, **factory)
        self.norm_q = operations.RMSNorm(dim, eps=config.eps, **factory)
        self.norm_k = operations.RMSNorm(dim, eps=config.eps, **factory)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1))


class DualBranchSelfAttention(_Attention):
    """Self-attention with a RoPE branch and a PRoPE branch that share q, k and v.

    Output = `o(rope branch) + o_prope(prope branch)`. With `o_prope` zero this is Wan's self-attention.
    Source: WorldPlay `CausalCameraPRopeWanAttnProcessor2_0`.
    """

    def __init__(
        self, config: DiTConfig, *, operations: Any, device: Any = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(config, operations=operations, device=device, dtype=dtype)
        self.o_prope = operations.Linear(config.dim, config.dim, device=device, dtype=dtype)

    def keys_values(self, x_BFSE: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        """Keys and values of both branches, `[2B, H, N, D]` each, RoPE branch first."""
        k = self._heads(self.norm_k(self.k(x_BFSE)))
        v = self._heads(self.v(x_BFSE))
        k_both = torch.cat((apply_rope(k, positions.cos, positions.sin), apply_projection(k, positions.cameras.kv)))
        v_both = torch.cat((v, apply_projection(v, positions.cameras.kv)))
        return _to_attention(k_both), _to_attention(v_both)

    def forward(self, x_BFSE: Tensor, positions: Positions, slot: KVSlot | None, attend: Attend) -> Tensor:
        B, num_frames, S, _ = x_BFSE.shape
        k, v = self.keys_values(x_BFSE, positions)
        if slot is not None:
            k, v = slot.write(k, v)
        q = self._heads(self.norm_q(self.q(x_BFSE)))
        q_both = torch.cat((apply_rope(q, positions.cos, positions.sin), apply_projection(q, positions.cameras.q)))
        out = attend(_to_attention(q_both), k, v).transpose(1, 2).unflatten(1, (num_frames, S))
        rope_out, prope_out = out[:B], apply_projection(out[B:], positions.cameras.out)
        return self.o(rope_out.flatten(-2)) + self.o_prope(prope_out.flatten(-2))


class CrossAttention(_Attention):
    """Attention of the picture's tokens to the prompt, whose keys and values are constant over a rollout."""

    def keys_values(self, text_BLE: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values `[B, H, L, D]` of the embedded prompt `[B, L, E]`."""
        k = self._heads(self.norm_k(self.k(text_BLE)))
        v = self._heads(self.v(text_BLE))
        return k.transpose(1, 2), v.transpose(1, 2)

    def forward(self, x_BFSE: Tensor, text_kv: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        q = self._heads(self.norm_q(self.q(x_BFSE)))
        out = attend(_to_attention(q), *text_kv).transpose(1, 2).flatten(-2)
        return self.o(out.view_as(x_BFSE))


def _to_attention(x_BFSHD: Tensor) -> Tensor:
    return x_BFSHD.flatten(1, 2).transpose(1, 2)
