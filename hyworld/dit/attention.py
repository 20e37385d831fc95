"""The two attentions of a block: self-attention, of one or two branches, and cross-attention to text and picture.

Shape suffixes: B batch, F frames, S tokens per frame, E = heads * head dim, L text tokens.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ..config import DiTConfig
from .buffers import KV, KVSlot
from .kernels import Kernels
from .positions import Positions


class _Attention(nn.Module):
    """Wan's q, k, v, o projections, and its RMS norms of q and k over all heads."""

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


class SelfAttention(_Attention):
    """Wan's self-attention; with cameras `o(RoPE branch) + o_prope(PRoPE branch)`, whose q, k and v are shared.

    Source of the second branch: WorldPlay `CausalCameraPRopeWanAttnProcessor2_0`.
    """

    def __init__(
        self, config: DiTConfig, *, operations: Any, device: Any = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(config, operations=operations, device=device, dtype=dtype)
        if config.cameras:
            self.o_prope = operations.Linear(config.dim, config.dim, device=device, dtype=dtype)
        # q, k and v as one layer, if a fast path has joined them.
        self.qkv: nn.Module | None = None

    def store_keys_values(self, x_BFSE: Tensor, positions: Positions, slot: KVSlot, kernels: Kernels) -> None:
        """Only write keys and values of `x` into `slot`."""
        k, v = (self.k(x_BFSE), self.v(x_BFSE)) if self.qkv is None else self.qkv(x_BFSE).chunk(3, dim=-1)[1:]
        slot.store(k, v, positions, partial(self._spread, kernels))

    def forward(self, x_BFSE: Tensor, positions: Positions, slot: KVSlot | None, kernels: Kernels) -> Tensor:
        """Attend from `x`, the last frames of `positions`, to all frames of `positions`; the others are in `slot`."""
        num_frames = x_BFSE.shape[1]
        if self.qkv is None:
            q, k, v = self.q(x_BFSE), self.k(x_BFSE), self.v(x_BFSE)
        else:
            q, k, v = self.qkv(x_BFSE).chunk(3, dim=-1)
        spread = partial(self._spread, kernels)
        if slot is None:
            k, v = spread(k, v, positions, None)
        else:
            slot.store(k, v, positions, spread)
            k, v = slot.context(positions, spread)
        here = positions.last(num_frames)
        out = self._attend(q, k, v, here, kernels)
        batch = len(x_BFSE)
        rope_out = self.o(rearrange(out[:batch], "B H (F S) D -> B F S (H D)", F=num_frames))
        if here.cameras is None:
            return rope_out
        return rope_out + self.o_prope(kernels.project(out[batch:], here.cameras.out))

    def _attend(self, q_BFSE: Tensor, k: Tensor, v: Tensor, positions: Positions, kernels: Kernels) -> Tensor:
        """Attention's output `[RB, H, N, D]` for projected `q` of the frames of `positions`."""
        rope, matrix = (positions.cos, positions.sin), positions.cameras and positions.cameras.q
        if kernels.fp8 is None or positions.factors is None:
            return kernels.attend(kernels.branches(q_BFSE, self.num_heads, self.norm_q, rope, matrix), k, v)
        factors = positions.factors
        q = kernels.fp8.branches(q_BFSE, self.num_heads, self.norm_q, rope, matrix, None, factors.q)
        return kernels.fp8.attend(q, k, v, factors, q_BFSE.dtype)

    def _spread(self, kernels: Kernels, k: Tensor, v: Tensor, positions: Positions, out: KV | None) -> KV:
        """See `buffers.Spread`."""
        k_out, v_out = out or (None, None)
        rope, matrix = (positions.cos, positions.sin), positions.cameras and positions.cameras.kv
        if kernels.fp8 is not None and positions.factors is not None:
            factors = positions.factors
            return (
                kernels.fp8.branches(k, self.num_heads, self.norm_k, rope, matrix, k_out, factors.k),
                kernels.fp8.values(v, self.num_heads, matrix, v_out, factors.v),
            )
        return (
            kernels.branches(k, self.num_heads, self.norm_k, rope, matrix, k_out),
            kernels.branches(v, self.num_heads, None, None, matrix, v_out),
        )


class CrossAttention(_Attention):
    """Attention of the video tokens to the prompt and, with CLIP tokens, to the first picture.

    Keys and values are constant per prompt and picture.
    """

    def __init__(
        self, config: DiTConfig, *, operations: Any, device: Any = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(config, operations=operations, device=device, dtype=dtype)
        if config.clip_dim:
            factory = {"device": device, "dtype": dtype}
            self.k_img = operations.Linear(config.dim, config.dim, **factory)
            self.v_img = operations.Linear(config.dim, config.dim, **factory)
            self.norm_k_img = operations.RMSNorm(config.dim, eps=config.eps, **factory)

    def keys_values(self, text_BLE: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values `[B, H, L, D]` of the embedded prompt `[B, L, E]`."""
        k, v = self.norm_k(self.k(text_BLE)), self.v(text_BLE)
        return self._heads(k, "B L (H D) -> B H L D"), self._heads(v, "B L (H D) -> B H L D")

    def image_keys_values(self, image_BKE: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values `[B, H, K, D]` of the embedded CLIP tokens `[B, K, E]`."""
        k, v = self.norm_k_img(self.k_img(image_BKE)), self.v_img(image_BKE)
        return self._heads(k, "B K (H D) -> B H K D"), self._heads(v, "B K (H D) -> B H K D")

    def forward(self, x_BFSE: Tensor, text_kv: KV, image_kv: KV | None, kernels: Kernels) -> Tensor:
        q = self._heads(self.norm_q(self.q(x_BFSE)), "B F S (H D) -> B H (F S) D")
        out = kernels.attend(q, *text_kv)
        if image_kv is not None:
            out = out + kernels.attend(q, *image_kv)
        return self.o(rearrange(out, "B H (F S) D -> B F S (H D)", F=x_BFSE.shape[1]))

    def _heads(self, x: Tensor, pattern: str) -> Tensor:
        return rearrange(x, pattern, H=self.num_heads)
