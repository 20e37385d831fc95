"""Buffers with fixed addresses for the keys and values of the frames that a chunk attends to.

Shape suffixes: B batch, F frames, S tokens per frame, H heads, N = F * S, D head dim, E = H * D; R branches of
self-attention: 2 with cameras, stacked along the batch axis, RoPE first, PRoPE second; else 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ..config import DiTConfig
from .positions import Positions

KV = tuple[Tensor, Tensor]
"""Keys and values of all branches, `[RB, H, N, D]` each."""

Spread = Callable[[Tensor, Tensor, Positions, KV | None], KV]
"""Computes keys and values of all branches from projected k and v `[B, F, S, E]`, into the tensors if given."""


class KVSlot(Protocol):
    """One block's part of the memory, up to the frames of this forward."""

    def store(self, k_BFSE: Tensor, v_BFSE: Tensor, positions: Positions, spread: Spread) -> None:
        """Store k and v of the last frames of `positions`, behind the memory frames."""

    def context(self, positions: Positions, spread: Spread) -> KV:
        """Keys and values of the memory frames and those just stored."""


class FastSlot(NamedTuple):
    """Keeps keys and values as attention reads them, `[RB, H, N, D]`; each frame is spread once. `start`: in tokens."""

    k: Tensor
    v: Tensor
    start: int

    def store(self, k_BFSE: Tensor, v_BFSE: Tensor, positions: Positions, spread: Spread) -> None:
        here = (self.k[:, :, self.start :], self.v[:, :, self.start :])
        spread(k_BFSE, v_BFSE, positions.last(k_BFSE.shape[1]), here)

    def context(self, positions: Positions, spread: Spread) -> KV:
        return self.k, self.v


class CompactSlot(NamedTuple):
    """Keeps projected k and v `[B, F, S, E]` and spreads them in every forward. `start` is in frames.

    scratch: keys and values of one block at a time, `[RB, H, capacity, D]` each.
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
        k, v = (buffer[:, :, :tokens] for buffer in self.scratch)
        return spread(self.k, self.v, positions, (k, v))


class KVBuffers:
    """Keys and values of every block for `capacity_frames` frames, of which the first `frames` are memory.

    Allocated once and written in place, so that CUDA graphs find them at the same address.

    tokens_per_frame: S.
    compact: how a block keeps them, see `CompactSlot` and `FastSlot`.
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
    ) -> None:
        self.capacity_frames = capacity_frames
        self.tokens_per_frame = tokens_per_frame
        self.compact = compact
        self.frames = 0
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        kept, scratch = _shapes(config, capacity_frames, tokens_per_frame, batch, compact)
        self._k = [torch.zeros(kept, **factory) for _ in range(config.num_layers)]
        self._v = [torch.zeros(kept, **factory) for _ in range(config.num_layers)]
        self._scratch = (torch.zeros(scratch, **factory), torch.zeros(scratch, **factory)) if scratch else None

    @classmethod
    def nbytes(cls, config: DiTConfig, *, frames: int, tokens_per_frame: int, dtype: torch.dtype, compact: bool) -> int:
        """Bytes of the keys and values for one world; `frames` are the remembered and new ones together."""
        kept, scratch = _shapes(config, frames, tokens_per_frame, 1, compact)
        numbers = config.num_layers * math.prod(kept) + (math.prod(scratch) if scratch else 0)
        return 2 * numbers * dtype.itemsize

    def slot(self, layer: int, new_frames: int) -> KVSlot:
        """Slot of block `layer` for a forward over `new_frames` frames, which it stores behind the memory frames."""
        end = self.frames + new_frames
        k, v = self._until(layer, end)
        if self._scratch is None:
            return FastSlot(k, v, self.frames * self.tokens_per_frame)
        return CompactSlot(k, v, self.frames, self._scratch)

    def read(self, layer: int) -> KV:
        """Keys and values of the memory frames in block `layer`: `[RB, H, N, D]`, or `[B, F, S, E]` if compact."""
        return self._until(layer, self.frames)

    def _until(self, layer: int, frames: int) -> KV:
        k, v = self._k[layer], self._v[layer]
        if self.compact:
            return k[:, :frames], v[:, :frames]
        end = frames * self.tokens_per_frame
        return k[:, :, :end], v[:, :, :end]


def _shapes(
    config: DiTConfig, frames: int, tokens: int, batch: int, compact: bool
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Shapes of a block's keys (and values), and of the scratch, if any."""
    spread = (config.branches * batch, config.num_heads, frames * tokens, config.head_dim)
    return ((batch, frames, tokens, config.dim), spread) if compact else (spread, None)
