"""Keys and values of the frames a chunk may look at, in buffers that never move.

Shape suffixes: B batch, H heads, N tokens, D head dim; 2B because both attention branches are
stacked along the batch axis, RoPE first, PRoPE second.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..config import DiTConfig


class KVSlot(NamedTuple):
    """One block's place in the memory: whole buffers `[2B, H, capacity, D]`, and the token to write at.

    A block is handed its slot and nothing else of the memory, so that one compiled block serves all layers.
    """

    k: Tensor
    v: Tensor
    start: int

    def write(self, k_2BHND: Tensor, v_2BHND: Tensor) -> tuple[Tensor, Tensor]:
        """Store keys and values behind the memory frames; return all that may be attended to."""
        end = self.start + k_2BHND.shape[2]
        self.k[:, :, self.start : end].copy_(k_2BHND)
        self.v[:, :, self.start : end].copy_(v_2BHND)
        return self.k[:, :, :end], self.v[:, :, :end]


class KVMemory:
    """Fixed key/value buffers of every block: memory frames first, then the frames being denoised.

    The buffers are allocated once and written in place, so that a captured CUDA graph or a compiled
    forward always finds them at the same address. Prefill writes the memory frames from the front
    (`clear`, the forward, then `commit_prefill`); each denoising forward writes the current frames behind
    them and attends to both. A chunk always prefills anew, so one memory serves any number of rollouts.
    """

    def __init__(
        self,
        config: DiTConfig,
        *,
        capacity_frames: int,
        tokens_per_frame: int,
        batch: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.capacity_frames = capacity_frames
        self.tokens_per_frame = tokens_per_frame
        self.frames = 0
        shape = (2 * batch, config.num_heads, capacity_frames * tokens_per_frame, config.head_dim)
        self._k = [torch.zeros(shape, device=device, dtype=dtype) for _ in range(config.num_layers)]
        self._v = [torch.zeros(shape, device=device, dtype=dtype) for _ in range(config.num_layers)]

    def clear(self) -> None:
        """Forget the memory frames; the next forward sees only its own."""
        self.frames = 0

    def commit_prefill(self, frames: int) -> None:
        """Declare the first `frames` frames, written by a prefill, to be the memory."""
        self.frames = frames

    def slot(self, layer: int) -> KVSlot:
        """Where block `layer` writes its keys and values: behind the memory frames."""
        return KVSlot(self._k[layer], self._v[layer], self.frames * self.tokens_per_frame)

    def read(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values `[2B, H, frames * tokens_per_frame, D]` of the memory frames in block `layer`."""
        end = self.frames * self.tokens_per_frame
        return self._k[layer][:, :, :end], self._v[layer][:, :, :end]
