"""Buffers with fixed addresses for the keys and values of the frames that a chunk attends to.

Shape suffixes: B batch, F frames, S tokens per frame, H heads, N = F * S, D head dim, E = H * D; R branches of
self-attention: 2 with cameras, stacked along the batch axis, RoPE first, PRoPE second; else 1.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..config import DiTConfig
from ..fp8 import FP8
from .eight_bit import Kept
from .positions import Positions

KV = tuple[Tensor, Tensor]
"""Keys and values of all branches, `[RB, H, N, D]` each; in fp8 values are `[RB, H, D, N]`, see `fp8_attention`."""


class Spread(Protocol):
    """Makes keys and values of all branches."""

    def __call__(self, k_BFSE: Tensor, v_BFSE: Tensor, positions: Positions, out: KV | None) -> KV:
        """From projected k and v, into the tensors if given."""

    def keep(self, k_BFSE: Tensor, v_BFSE: Tensor, kept: Kept) -> None:
        """Round projected k and v into `kept`."""

    def again(self, kept: Kept, positions: Positions, out: KV) -> None:
        """Make fp8 keys and values of both branches from `kept`."""


TO_16_BYTES = 16
"""Rows of fp8 values are multiples of this long, so that they can be read 16 bytes at a time."""


def tokens_of(kv: KV, begin: int, end: int | None) -> KV:
    """Those of the tokens from `begin` to `end`."""
    k, v = kv
    return k[:, :, begin:end], v[..., begin:end] if v.dtype == FP8 else v[:, :, begin:end]


class KVSlot(Protocol):
    """One block's part of the memory, up to the frames of this forward."""

    def store(self, k_BFSE: Tensor, v_BFSE: Tensor, positions: Positions, spread: Spread) -> None:
        """Store k and v of the last frames of `positions`, behind the memory frames."""

    def context(self, positions: Positions, spread: Spread) -> KV:
        """Keys and values of the memory frames and those just stored."""


class FastSlot(NamedTuple):
    """Keeps keys and values as attention reads them; each frame is spread once. `start`: in tokens."""

    k: Tensor
    v: Tensor
    start: int

    def store(self, k_BFSE: Tensor, v_BFSE: Tensor, positions: Positions, spread: Spread) -> None:
        here = tokens_of((self.k, self.v), self.start, None)
        spread(k_BFSE, v_BFSE, positions.last(k_BFSE.shape[1]), here)

    def context(self, positions: Positions, spread: Spread) -> KV:
        return self.k, self.v


class CompactSlot(NamedTuple):
    """Keeps projected k and v `[B, F, S, E]` and spreads them in every forward. `start` is in frames.

    scratch: keys and values of one block at a time, for the capacity.
    """

    k: Tensor
    v: Tensor
    start: int
    scratch: KV

    def store(self, k_BFSE: Tensor, v_BFSE: Tensor, positions: Positions, spread: Spread) -> None:
        self.k[:, self.start :].copy_(k_BFSE)
        self.v[:, self.start :].copy_(v_BFSE)

    def context(self, positions: Positions, spread: Spread) -> KV:
        tokens = self.k.shape[1] * self.k.shape[2]
        return spread(self.k, self.v, positions, tokens_of(self.scratch, 0, tokens))


class EightBitSlot(NamedTuple):
    """Keeps what both branches in fp8 are made of, see `eight_bit`. `start` is in tokens.

    scratch: as in `CompactSlot`.
    """

    kept: Kept
    start: int
    scratch: KV

    def store(self, k_BFSE: Tensor, v_BFSE: Tensor, positions: Positions, spread: Spread) -> None:
        here = tokens_of(self.scratch, self.start, self.kept.k.shape[2])
        spread(k_BFSE, v_BFSE, positions.last(k_BFSE.shape[1]), here)
        if self.start == 0:  # else they are the new frames, which nobody reads after this forward
            spread.keep(k_BFSE, v_BFSE, self.kept)

    def context(self, positions: Positions, spread: Spread) -> KV:
        if self.start:
            remembered = positions.first(self.start // positions.tokens)
            spread.again(self.kept.tokens(self.start), remembered, tokens_of(self.scratch, 0, self.start))
        return tokens_of(self.scratch, 0, self.kept.k.shape[2])


class KVBuffers:
    """Keys and values of every block for `capacity_frames` frames, of which the first `frames` are memory.

    Allocated once and written in place, so that CUDA graphs find them at the same address.

    tokens_per_frame: S.
    compact: how a block keeps them, see `FastSlot`, `CompactSlot` and, for two branches in fp8, `EightBitSlot`.
    fp8: for a network that attends in fp8; a block then keeps or spreads them as that.
    """

    def __init__(
        self,
        config: DiTConfig,
        *,
        capacity_frames: int,
        tokens_per_frame: int,
        batch: int,
        device: torch.device | str,
        dtype: torch.dtype,
        compact: bool,
        fp8: bool = False,
    ) -> None:
        self.capacity_frames = capacity_frames
        self.tokens_per_frame = tokens_per_frame
        self.compact = compact
        self.fp8 = fp8
        self.frames = 0
        kept, scratch = _tensors(config, capacity_frames, tokens_per_frame, batch, dtype, compact, fp8)

        def of_all_blocks(kind: _Kind) -> list[Tensor]:
            return [torch.zeros(kind[0], dtype=kind[1], device=device) for _ in range(config.num_layers)]

        k, v, *scales = kept
        self._k, self._v = of_all_blocks(k), of_all_blocks(v)
        self._scales = of_all_blocks(scales[0]) if scales else None
        self._scratch: KV | None = None
        if scratch:
            k_scratch, v_scratch = (torch.zeros(shape, dtype=kind, device=device) for shape, kind in scratch)
            self._scratch = (k_scratch, v_scratch)

    @classmethod
    def nbytes(
        cls,
        config: DiTConfig,
        *,
        frames: int,
        tokens_per_frame: int,
        dtype: torch.dtype,
        compact: bool,
        fp8: bool = False,
    ) -> int:
        """Bytes of the keys and values for one world; `frames` are the remembered and new ones together."""
        kept, scratch = _tensors(config, frames, tokens_per_frame, 1, dtype, compact, fp8)
        return config.num_layers * _bytes(kept) + _bytes(scratch)

    def slot(self, layer: int, new_frames: int) -> KVSlot:
        """Slot of block `layer` for a forward over `new_frames` frames, which it stores behind the memory frames."""
        end = self.frames + new_frames
        if self._scales is not None and self._scratch is not None:
            kept = Kept(self._k[layer], self._v[layer], self._scales[layer]).tokens(end * self.tokens_per_frame)
            return EightBitSlot(kept, self.frames * self.tokens_per_frame, self._scratch)
        k, v = self._until(layer, end)
        if self._scratch is None:
            return FastSlot(k, v, self.frames * self.tokens_per_frame)
        return CompactSlot(k, v, self.frames, self._scratch)

    def read(self, layer: int) -> KV:
        """Keys and values of the memory frames in block `layer`: `KV`, or `[B, F, S, E]` each if compact.

        Not of a memory of `EightBitSlot`s.
        """
        return self._until(layer, self.frames)

    def _until(self, layer: int, frames: int) -> KV:
        k, v = self._k[layer], self._v[layer]
        if self._scratch is not None:
            return k[:, :frames], v[:, :frames]
        return tokens_of((k, v), 0, frames * self.tokens_per_frame)


_Kind = tuple[tuple[int, ...], torch.dtype]


def _tensors(
    config: DiTConfig, frames: int, tokens: int, batch: int, dtype: torch.dtype, compact: bool, fp8: bool
) -> tuple[tuple[_Kind, ...], tuple[_Kind, ...]]:
    """Shape and dtype of a block's keys and values, and of the scratch's, if any."""
    length = frames * tokens
    padded = -(-length // TO_16_BYTES) * TO_16_BYTES
    heads = (config.branches * batch, config.num_heads)
    spread: tuple[_Kind, ...] = 2 * (((*heads, length, config.head_dim), dtype),)
    if fp8:
        spread = (((*heads, length, config.head_dim), FP8), ((*heads, config.head_dim, padded), FP8))
    if not compact:
        return spread, ()
    if fp8 and config.branches == 2:
        one = (batch, config.num_heads)
        k, v = ((*one, length, config.head_dim), torch.int8), ((*one, config.head_dim, padded), torch.int8)
        return (k, v, ((2, *one, length), torch.float16)), spread
    return 2 * (((batch, frames, tokens, config.dim), dtype),), spread


def _bytes(tensors: tuple[_Kind, ...]) -> int:
    return sum(math.prod(shape) * dtype.itemsize for shape, dtype in tensors)
