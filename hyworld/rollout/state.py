"""Plain values that a rollout is made of: what came out of a chunk, and all that is needed to go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..camera import Trajectory
from ..config import CHUNK_LATENTS, frames_in


@dataclass(frozen=True)
class Chunk:
    """One step of a rollout.

    Attributes:
        index: 0 for the first chunk of the world.
        latents: float32 `[1, C, 4, h, w]`, normalised, on the engine's device.
        frames: uint8 `[F, H, W, 3]` on the CPU, F = 13 in chunk 0 and 16 later; None without a decoder.
        memory_frames: indices of the latents this chunk attended to, ascending.
    """

    index: int
    latents: Tensor
    frames: Tensor | None
    memory_frames: tuple[int, ...]


@dataclass(frozen=True)
class RolloutState:
    """A world so far: an immutable value that can be kept, branched from and resumed any number of times.

    Attributes:
        text: prompt embeddings `[1, L, text_dim]`.
        seed: with the chunk's index it gives the chunk's noise.
        latent_size: (h, w) of the latents.
        first_frame: normalised latent `[1, C, 1, h, w]` of the picture the world starts from, or None.
        latents: `[1, C, n, h, w]` float32, everything generated so far (n = 0 at the start).
        viewmats, intrinsics, labels: `[n, 4, 4]` float64, `[n, 3, 3]` float32 and `[n]` of those latents, on the CPU.
            The network sees viewmats in float32; kept so, a path that goes on from them would drift.
        decoder_cache: what the streaming decoder needs to go on without a seam, or None.
        memory_frames: per chunk, the latents it attended to.
    """

    text: Tensor
    seed: int
    latent_size: tuple[int, int]
    first_frame: Tensor | None
    latents: Tensor
    viewmats: Tensor
    intrinsics: Tensor
    labels: Tensor
    decoder_cache: Any = None
    memory_frames: tuple[tuple[int, ...], ...] = ()

    @property
    def chunks(self) -> int:
        """Chunks generated so far."""
        return self.latents.shape[2] // CHUNK_LATENTS

    @property
    def path(self) -> Trajectory:
        """The path walked so far, in world coordinates."""
        return Trajectory(
            c2w=torch.linalg.inv(self.viewmats.double()).numpy(),
            intrinsics=self.intrinsics.double().numpy(),
            labels=self.labels.numpy(),
        )

    @property
    def video_frames(self) -> int:
        """Video frames generated so far."""
        return frames_in(self.latents.shape[2])
