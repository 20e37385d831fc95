"""The distilled four-step schedule and the noise each chunk starts from.

Source: WorldPlay `wan/inference/pipeline_wan_w_mem_relative_rope.py` (`few_step`).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

TIMESTEPS = (1000.0, 960.0, 888.8889, 727.2728)
"""Timesteps of the four denoising steps; after the last one the latents are clean (timestep 0)."""

CONTEXT_TIMESTEP = 14.0
"""Timestep of clean context: memory frames, and the first-frame latent in chunk 0."""

STEPS = len(TIMESTEPS)


def step_size(step: int) -> float:
    """Signed change of sigma over `step`: Euler adds this times the flow. Sigma is timestep / 1000."""
    following = (*TIMESTEPS, 0.0)[step + 1]
    # Rounded to float32 before subtracting, like the original's tensors.
    return float(np.float32(following) / np.float32(1000) - np.float32(TIMESTEPS[step]) / np.float32(1000))


def chunk_noise(seed: int, chunk: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32 noise of one chunk, on the CPU.

    It depends on (seed, chunk) alone, so a rollout is the same whatever its planned length, its device
    or how often it was resumed.
    """
    mixed = int(np.random.SeedSequence(seed, spawn_key=(chunk,)).generate_state(1, np.uint64)[0])
    return torch.randn(shape, generator=torch.Generator().manual_seed(mixed))
