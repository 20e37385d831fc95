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
from .positions import Positions

KV = tuple[Tensor, Tensor]
"""Keys and values of all branches, `[RB, H, N, D]` each; in fp8 values are `[RB, H, D, N]`, see `fp8_attention`."""


class Spread(Protocol):
    """Makes keys and values of all branches."""

    def __call__(self, k_BFSE: Tensor, v_BFSE: Tensor, positions: Positions, out: KV | None) -> KV:
        """From projected k and v, into the tensors if given."""

    def again(self, kv: KV, positions: Positions) -> None:
        """Write the PRoPE branch of fp8 `kv` from its RoPE branch."""


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


class SharingSlot(NamedTuple):
    """Keeps the RoPE branch's keys and values in fp8; all blocks share the PRoPE branch's, made anew in every forward.

    k, v: both branches. `start`: in tokens.
    """

    k: Tensor
    v: Tensor
    start: int

    def store(self, k_BFSE: Tensor, v_BFSE: Tensor, positions: Positions, spread: Spread) -> None:
        FastSlot(*self).store(k_BFSE, v_BFSE, positions, spread)

    def context(self, positions: Positions, spread: Spread) -> KV:
        if self.start:
            spread.again(tokens_of((self.k, self.v), 0, self.start), positions.first(self.start // positions.tokens))
        return self.k, self.v


class KVBuffers:
    """Keys and values of every block for `capacity_frames` frames, of which the first `frames` are memory.

    Allocated once and written in place, so that CUDA graphs find them at the same address.

    tokens_per_frame: S.
    compact: how a block keeps them, see `FastSlot`, `CompactSlot` and, for the branches in fp8, `SharingSlot`, which is
        for one world at a time (a batch of 1).
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
        self.sharing = _shares(config, compact, fp8)
        kept, scratch = _tensors(config, capacity_frames, tokens_per_frame, batch, dtype, compact, fp8)
        self._scratch: KV | None = None
        if self.sharing:
            assert batch == 1, "branches that lie apart can be one tensor for one world only"
            self._k, self._v = (_with_shared(config.num_layers, shape, kind, device) for shape, kind in kept)
            return
        self._k, self._v = (
            [torch.zeros(shape, dtype=kind, device=device) for _ in range(config.num_layers)] for shape, kind in kept
        )
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
        k, v = self._until(layer, end)
        if self.sharing:
            return SharingSlot(k, v, self.frames * self.tokens_per_frame)
        if self._scratch is None:
            return FastSlot(k, v, self.frames * self.tokens_per_frame)
        return CompactSlot(k, v, self.frames, self._scratch)

    def read(self, layer: int) -> KV:
        """Keys and values of the memory frames in block `layer`: `KV`, or `[B, F, S, E]` each if compact.

        Where blocks share a branch, it holds that of the last forward's last block.
        """
        return self._until(layer, self.frames)

    def _until(self, layer: int, frames: int) -> KV:
        k, v = self._k[layer], self._v[layer]
        if self._scratch is not None:
            return k[:, :frames], v[:, :frames]
        return tokens_of((k, v), 0, frames * self.tokens_per_frame)


_Kind = tuple[tuple[int, ...], torch.dtype]


def _shares(config: DiTConfig, compact: bool, fp8: bool) -> bool:
    """Whether blocks share the PRoPE branch; not where the RoPE branch is no rotation, see `rope_table`."""
    return compact and fp8 and config.branches == 2 and config.head_dim // 3 % 2 == 0


def _with_shared(layers: int, shape: tuple[int, ...], kind: torch.dtype, device: torch.device | str) -> list[Tensor]:
    """For each layer a tensor `[2, ...]`: its own `shape`, and behind it one of that shape that all share."""
    whole = torch.zeros(layers + 1, *shape[1:], dtype=kind, device=device)
    return [whole[layer :: layers - layer] for layer in range(layers)]


def _tensors(
    config: DiTConfig, frames: int, tokens: int, batch: int, dtype: torch.dtype, compact: bool, fp8: bool
) -> tuple[tuple[_Kind, ...], tuple[_Kind, ...]]:
    """Shape and dtype of a block's keys and values, and of the scratch's, if any."""
    length = frames * tokens
    sharing = _shares(config, compact, fp8)
    heads = ((1 if sharing else config.branches) * batch, config.num_heads)
    spread: tuple[_Kind, ...] = 2 * (((*heads, length, config.head_dim), dtype),)
    if fp8:
        padded = -(-length // TO_16_BYTES) * TO_16_BYTES
        spread = (((*heads, length, config.head_dim), FP8), ((*heads, config.head_dim, padded), FP8))
    if fp8 and config.branches == 2:
        return spread, spread if sharing else ()
    return (2 * (((batch, frames, tokens, config.dim), dtype),), spread) if compact else (spread, ())


def _bytes(tensors: tuple[_Kind, ...]) -> int:
    return sum(math.prod(shape) * dtype.itemsize for shape, dtype in tensors)
