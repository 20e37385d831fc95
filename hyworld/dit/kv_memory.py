"""Keys and values of the frames that a chunk attends to, in buffers with fixed addresses.

Shape suffixes: B batch, F frames, S tokens per frame, H heads, N = F * S, D head dim, E = H * D; 2B because both
attention branches are stacked along the batch axis, RoPE first, PRoPE second.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ..config import DiTConfig
from .positions import Positions
from .prope import CameraProjections

KV = tuple[Tensor, Tensor]
"""Keys and values of both branches, `[2B, H, N, D]` each."""

Spread = Callable[[Tensor, Tensor, Positions, KV | None], KV]
"""Computes keys and values of both branches from projected k and v `[B, F, S, E]`, into the tensors if given."""


class KVSlot(Protocol):
    """One block's part of the memory."""

    def store(self, k_BFSE: Tensor, v_BFSE: Tensor, positions: Positions, spread: Spread) -> None:
        """Store k and v of the last frames of `positions`, behind the memory frames."""

    def context(self, positions: Positions, spread: Spread) -> KV:
        """Keys and values of all of `positions`: memory frames and those just stored."""


class FastSlot(NamedTuple):
    """Keeps both branches, `[2B, H, capacity, D]`; the prefill spreads the memory frames once. `start` is in tokens."""

    k: Tensor
    v: Tensor
    start: int

    def store(self, k_BFSE: Tensor, v_BFSE: Tensor, positions: Positions, spread: Spread) -> None:
        end = self.start + k_BFSE.shape[1] * k_BFSE.shape[2]
        here = (self.k[:, :, self.start : end], self.v[:, :, self.start : end])
        spread(k_BFSE, v_BFSE, positions.last(k_BFSE.shape[1]), here)

    def context(self, positions: Positions, spread: Spread) -> KV:
        end = positions.cos.shape[0] * positions.cos.shape[1]
        return self.k[:, :, :end], self.v[:, :, :end]


class CompactSlot(NamedTuple):
    """Keeps projected k and v `[B, capacity frames, S, E]` and spreads them in every forward. `start` is in frames.

    scratch: keys and values of one block at a time, `[2B, H, capacity, D]` each.
    """

    k: Tensor
    v: Tensor
    start: int
    scratch: KV

    def store(self, k_BFSE: Tensor, v_BFSE: Tensor, positions: Positions, spread: Spread) -> None:
        end = self.start + k_BFSE.shape[1]
        self.k[:, self.start : end].copy_(k_BFSE)
        self.v[:, self.start : end].copy_(v_BFSE)

    def context(self, positions: Positions, spread: Spread) -> KV:
        frames, tokens = positions.cos.shape[:2]
        k, v = (buffer[:, :, : frames * tokens] for buffer in self.scratch)
        return spread(self.k[:, :frames], self.v[:, :frames], positions, (k, v))


class KVMemory:
    """Key/value buffers of every block: memory frames first, then the frames being denoised.

    Allocated once and written in place, so that CUDA graphs find them at the same address. A prefill is `clear`, a
    forward and `commit_prefill`; each denoising forward writes its frames behind the memory frames and attends to both.
    Every chunk prefills anew, so one memory serves any number of worlds.

    memory_frames, new_frames: the most frames remembered, and denoised at a time.
    tokens_per_frame: S.
    compact: half the memory, see `CompactSlot`.
    """

    def __init__(
        self,
        config: DiTConfig,
        *,
        memory_frames: int,
        new_frames: int,
        tokens_per_frame: int,
        batch: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        compact: bool = False,
    ) -> None:
        self.memory_frames = memory_frames
        self.capacity_frames = memory_frames + new_frames
        self.tokens_per_frame = tokens_per_frame
        self.compact = compact
        self.frames = 0
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        kept, scratch = self._shapes(config, self.capacity_frames, tokens_per_frame, batch, compact)
        self._k = [torch.zeros(kept, **factory) for _ in range(config.num_layers)]
        self._v = [torch.zeros(kept, **factory) for _ in range(config.num_layers)]
        self._scratch = (torch.zeros(scratch, **factory), torch.zeros(scratch, **factory)) if scratch else None
        cameras = torch.zeros(3, batch, self.capacity_frames, 4, 4, device=device)
        self._cameras = CameraProjections(*cameras.unbind())

    @staticmethod
    def _shapes(
        config: DiTConfig, frames: int, tokens: int, batch: int, compact: bool
    ) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
        """Shapes of a block's keys (and values), and of the scratch, if any."""
        branches = (2 * batch, config.num_heads, frames * tokens, config.head_dim)
        return ((batch, frames, tokens, config.dim), branches) if compact else (branches, None)

    @classmethod
    def nbytes(cls, config: DiTConfig, *, frames: int, tokens_per_frame: int, dtype: torch.dtype, compact: bool) -> int:
        """Bytes of the keys and values for one world; `frames` are the remembered and new ones together."""
        kept, scratch = cls._shapes(config, frames, tokens_per_frame, 1, compact)
        numbers = config.num_layers * math.prod(kept) + (math.prod(scratch) if scratch else 0)
        return 2 * numbers * dtype.itemsize

    def clear(self) -> None:
        """Forget the memory frames."""
        self.frames = 0

    def commit_prefill(self, cameras: CameraProjections) -> None:
        """Make the frames that a prefill has written, seen by `cameras`, the memory frames."""
        self.frames = cameras.q.shape[1]
        for kept, new in zip(self._cameras, cameras, strict=True):
            kept[:, : self.frames].copy_(new)

    def cameras_with(self, cameras: CameraProjections) -> CameraProjections:
        """Cameras of the memory frames, then `cameras`."""
        together = (
            torch.cat((kept[:, : self.frames], new), dim=1) for kept, new in zip(self._cameras, cameras, strict=True)
        )
        return CameraProjections(*together)

    def slot(self, layer: int) -> KVSlot:
        """Slot of block `layer`, behind the memory frames."""
        if self._scratch is None:
            return FastSlot(self._k[layer], self._v[layer], self.frames * self.tokens_per_frame)
        return CompactSlot(self._k[layer], self._v[layer], self.frames, self._scratch)

    def read(self, layer: int) -> KV:
        """Keys and values `[2B, H, frames * S, D]` of the memory frames in block `layer`; not for a compact memory."""
        assert not self.compact, "a compact memory does not keep keys and values"
        end = self.frames * self.tokens_per_frame
        return self._k[layer][:, :, :end], self._v[layer][:, :, :end]
