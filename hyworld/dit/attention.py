"""The attentions of a block: self-attention, a camera branch of its own, cross-attention to text and picture.

Shape suffixes: B batch, F frames, S tokens per frame, E = heads * head dim, L text tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from ..config import DiTConfig
from ..fp8 import Fp8Linear, Rounded
from .buffers import KV, KVSlot
from .eight_bit import Kept
from .exchange import Exchange
from .kernels import Kernels
from .positions import Positions
from .prope import CameraProjections


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
    """Wan's self-attention; WorldPlay's is `o(RoPE branch) + o_prope(PRoPE branch)`, whose q, k and v are shared.

    Source of the second branch: WorldPlay `CausalCameraPRopeWanAttnProcessor2_0`.
    """

    def __init__(
        self, config: DiTConfig, *, operations: Any, device: Any = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(config, operations=operations, device=device, dtype=dtype)
        if config.is_worldplay:
            self.o_prope = operations.Linear(config.dim, config.dim, device=device, dtype=dtype)
        # q, k and v as one layer, if a fast path has joined them.
        self.qkv: nn.Module | None = None

    def store_keys_values(self, x_BFSE: Tensor | Rounded, positions: Positions, slot: KVSlot, kernels: Kernels) -> None:
        """Only write keys and values of `x` into `slot`."""
        k, v = (self.k(x_BFSE), self.v(x_BFSE)) if self.qkv is None else self.qkv(x_BFSE).chunk(3, dim=-1)[1:]
        if kernels.exchange is not None:
            k, v = kernels.exchange.to_heads(positions.tokens, self.norm_k(k), v)()
        slot.store(k, v, positions, _Spread(self, kernels))

    def forward(
        self, x_BFSE: Tensor | Rounded, positions: Positions, slot: KVSlot | None, kernels: Kernels
    ) -> tuple[Tensor, ...]:
        """Attend from `x`, the last frames of `positions`, to all frames of `positions`; the others are in `slot`.

        Returns the branches' results, which are still to be added.
        """
        if kernels.exchange is not None:
            return self._shared(x_BFSE, positions, slot, kernels, kernels.exchange)
        num_frames = x_BFSE.shape[1]
        if self.qkv is None:
            q, k, v = self.q(x_BFSE), self.k(x_BFSE), self.v(x_BFSE)
        else:
            q, k, v = self.qkv(x_BFSE).chunk(3, dim=-1)
        k, v = self._context(k, v, positions, slot, kernels)
        here, batch = positions.last(num_frames), x_BFSE.shape[0]
        out = self._attended(q, k, v, here, kernels, self.norm_q)
        rope_out = self.o(_rows(out[:batch], num_frames))
        if here.cameras is None:
            return (rope_out,)
        to_fp8 = isinstance(self.o_prope, Fp8Linear)
        return rope_out, self.o_prope(kernels.project(out[batch:], here.cameras.out, to_fp8=to_fp8))

    def _shared(
        self, x_BFSE: Tensor | Rounded, positions: Positions, slot: KVSlot | None, kernels: Kernels, exchange: Exchange
    ) -> tuple[Tensor, ...]:
        """Of `x`, this process's tokens; attention is for its heads. What can be computed while they travel, is."""
        tokens, joined = positions.tokens, None if self.qkv is None else self.qkv(x_BFSE).chunk(3, dim=-1)
        k, v = (self.k(x_BFSE), self.v(x_BFSE)) if joined is None else joined[1:]
        # The norms are over all heads, so they come before these part.
        context_arrives = exchange.to_heads(tokens, self.norm_k(k), v)
        q_arrives = exchange.to_heads(tokens, self.norm_q(self.q(x_BFSE) if joined is None else joined[0]))
        k, v = context_arrives()
        k, v = self._context(k, v, positions, slot, kernels)
        (q,) = q_arrives()
        here, (batch, num_frames) = positions.last(x_BFSE.shape[1]), x_BFSE.shape[:2]
        out = self._attended(q, k, v, here, kernels, None)
        rope_arrives = exchange.to_tokens(tokens, _rows(out[:batch], num_frames))
        if here.cameras is None:
            return (self.o(*rope_arrives()),)
        projected = kernels.project(out[batch:], here.cameras.out)
        assert isinstance(projected, Tensor)
        prope_arrives = exchange.to_tokens(tokens, projected)
        return self.o(*rope_arrives()), self.o_prope(*prope_arrives())

    def _context(
        self, k_BFSE: Tensor, v_BFSE: Tensor, positions: Positions, slot: KVSlot | None, kernels: Kernels
    ) -> KV:
        spread = _Spread(self, kernels)
        if slot is None:
            return spread(k_BFSE, v_BFSE, positions, None)
        slot.store(k_BFSE, v_BFSE, positions, spread)
        return slot.context(positions, spread)

    def _attended(
        self, q_BFSE: Tensor, k: Tensor, v: Tensor, here: Positions, kernels: Kernels, norm_q: nn.Module | None
    ) -> Tensor:
        """`[RB, H, N, D]`, see `buffers`."""
        heads, rope = self.num_heads // kernels.ranks, (here.cos, here.sin)
        matrix, factors = here.cameras and here.cameras.q, here.factors
        if kernels.fp8 is None or factors is None:
            return kernels.attend(kernels.branches(q_BFSE, heads, norm_q, rope, matrix), k, v)
        q = kernels.fp8.branches(q_BFSE, heads, norm_q, rope, matrix, None, factors.q)
        return kernels.fp8.attend(q, k, v, factors, q_BFSE.dtype)


class _Spread(NamedTuple):
    """See `buffers.Spread`."""

    attention: SelfAttention
    kernels: Kernels

    def __call__(self, k_BFSE: Tensor, v_BFSE: Tensor, positions: Positions, out: KV | None) -> KV:
        kernels, (k_out, v_out) = self.kernels, out or (None, None)
        rope, matrix = (positions.cos, positions.sin), positions.cameras and positions.cameras.kv
        heads, norm = self.attention.num_heads // kernels.ranks, self._norm()
        if kernels.fp8 is not None and positions.factors is not None:
            factors = positions.factors
            return (
                kernels.fp8.branches(k_BFSE, heads, norm, rope, matrix, k_out, factors.k),
                kernels.fp8.values(v_BFSE, heads, matrix, v_out, factors.v),
            )
        return (
            kernels.branches(k_BFSE, heads, norm, rope, matrix, k_out),
            kernels.branches(v_BFSE, heads, None, None, matrix, v_out),
        )

    def _norm(self) -> nn.Module | None:
        """Of keys; where processes share a forward, it has been applied before the heads parted."""
        return self.attention.norm_k if self.kernels.exchange is None else None

    def keep(self, k_BFSE: Tensor, v_BFSE: Tensor, kept: Kept) -> None:
        fp8 = self.kernels.fp8
        assert fp8 is not None
        fp8.keep(k_BFSE, v_BFSE, self._norm(), kept)

    def again(self, kept: Kept, positions: Positions, out: KV) -> None:
        fp8, cameras, factors = self.kernels.fp8, positions.cameras, positions.factors
        assert fp8 is not None
        assert cameras is not None
        fp8.spread(kept, (positions.cos, positions.sin), cameras.kv, out, factors)


def _rows(out_BHND: Tensor, num_frames: int) -> Tensor:
    return rearrange(out_BHND, "B H (F S) D -> B F S (H D)", F=num_frames)


class CameraAttention(nn.Module):
    """DreamX-World's camera branch: PRoPE attention of the given frames among themselves; nothing of it is kept.

    Narrower than self-attention, with as many heads. Source: DreamX-World `CausalPropeSelfAttention`.
    """

    def __init__(
        self, config: DiTConfig, *, operations: Any, device: Any = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        dim, width = config.dim, config.camera_width
        factory = {"device": device, "dtype": dtype}
        self.num_heads = config.num_heads
        self.q_proj = operations.Linear(dim, width, **factory)
        self.k_proj = operations.Linear(dim, width, **factory)
        self.v_proj = operations.Linear(dim, width, **factory)
        self.out_proj = operations.Linear(width, dim, **factory)
        self.norm_q = operations.RMSNorm(width, eps=config.eps, **factory)
        self.norm_k = operations.RMSNorm(width, eps=config.eps, **factory)

    def forward(self, x_BFSE: Tensor | Rounded, cameras: CameraProjections, tokens: int, kernels: Kernels) -> Tensor:
        """tokens: of a frame; of several processes, each has but some of them in `x`."""
        q, k, v = self.q_proj(x_BFSE), self.k_proj(x_BFSE), self.v_proj(x_BFSE)
        norm_q, norm_k, exchange = self.norm_q, self.norm_k, kernels.exchange
        if exchange is not None:
            # The norms are over all heads, so they come before these part.
            q, k, v = exchange.to_heads(tokens, norm_q(q), norm_k(k), v)()
            norm_q = norm_k = None
        heads = self.num_heads // kernels.ranks
        q = kernels.camera_heads(q, heads, norm_q, cameras.q)
        k = kernels.camera_heads(k, heads, norm_k, cameras.kv)
        v = kernels.camera_heads(v, heads, None, cameras.kv)
        to_fp8 = exchange is None and isinstance(self.out_proj, Fp8Linear)
        out = kernels.project(kernels.attend(q, k, v), cameras.out, to_fp8=to_fp8)
        if exchange is not None:
            assert isinstance(out, Tensor)
            (out,) = exchange.to_tokens(tokens, out)()
        return self.out_proj(out)


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

    def forward(self, x_BFSE: Tensor | Rounded, text_kv: KV, image_kv: KV | None, kernels: Kernels) -> Tensor:
        q = self._heads(self.norm_q(self.q(x_BFSE)), "B F S (H D) -> B H (F S) D")
        out = kernels.attend(q, *text_kv)
        if image_kv is not None:
            out = out + kernels.attend(q, *image_kv)
        return self.o(rearrange(out, "B H (F S) D -> B F S (H D)", F=x_BFSE.shape[1]))

    def _heads(self, x: Tensor, pattern: str) -> Tensor:
        return rearrange(x, pattern, H=self.num_heads)
