"""Mean and deviation of a VAE's latents, between those it makes and the normalised ones of networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Statistics:
    """Mean and standard deviation per channel, for latents `[B, C, n, h, w]`; applied in at least float32."""

    # Not a module with buffers: those would be missing from checkpoints and stay on the meta device after an assigning
    # load. Kept on each device, since sending them would make the host wait.
    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self._values = (tuple(mean), tuple(std))
        self._on: dict[torch.device, Tensor] = {}

    def normalise(self, raw: Tensor) -> Tensor:
        mean, std = self._at(raw.device)
        return (raw - mean) / std

    def denormalise(self, latents: Tensor) -> Tensor:
        """In the dtype of `latents`."""
        mean, std = self._at(latents.device)
        return (latents * std + mean).to(latents.dtype)

    def _at(self, device: torch.device) -> Tensor:
        if device not in self._on:
            self._on[device] = torch.tensor(self._values, dtype=torch.float32)[..., None, None, None].to(device)
        return self._on[device]
