"""What a checkpoint fixes of the walk: chunk length, schedule, memory; and the noise each chunk starts from.

Source: WorldPlay `wan/inference/pipeline_wan_w_mem_relative_rope.py` (`few_step`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..config import CHUNK_LATENTS, MemoryConfig


@dataclass(frozen=True)
class Recipe:
    """Defaults: WorldPlay WAN-5B, distilled to four steps.

    chunk_latents: latents denoised together.
    timesteps: of the denoising steps; after the last one the latents are clean (timestep 0).
    context_timestep: of memory frames and of the first-frame latent in chunk 0.
    memory: which past latents a chunk looks at.
    """

    chunk_latents: int = CHUNK_LATENTS
    timesteps: tuple[float, ...] = (1000.0, 960.0, 888.8889, 727.2728)
    context_timestep: float = 14.0
    memory: MemoryConfig = field(default_factory=MemoryConfig)

    @property
    def steps(self) -> int:
        """Denoising steps of a chunk."""
        return len(self.timesteps)

    def step_size(self, step: int) -> float:
        """Signed change of sigma over `step`: Euler adds this times the flow. Sigma is timestep / 1000."""
        following = (*self.timesteps, 0.0)[step + 1]
        # Rounded to float32 before subtracting, like the original's tensors.
        return float(np.float32(following) / np.float32(1000) - np.float32(self.timesteps[step]) / np.float32(1000))


WORLDPLAY = Recipe()


def chunk_noise(seed: int, chunk: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32 noise of one chunk, on the CPU: of (seed, chunk) alone, whatever device or plan."""
    mixed = int(np.random.SeedSequence(seed, spawn_key=(chunk,)).generate_state(1, np.uint64)[0])
    return torch.randn(shape, generator=torch.Generator().manual_seed(mixed))
