"""Reference checkpoints (made with the original programs) and small ones made here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from hyworld.config import DiTConfig
from hyworld.verify import REFERENCE
from hyworld.weights import dit_shapes, dit_to_native, read_checkpoint


@pytest.fixture(scope="session")
def golden_dit() -> Path:
    """The reference transformer under the released names, float32, with its config in the metadata."""
    return REFERENCE / "dit_weights.safetensors"


@pytest.fixture(scope="session")
def golden_pickle() -> Path:
    """The same weights in the released envelope; `generator_ema` is all zeros."""
    return REFERENCE / "model.pt"


@pytest.fixture(scope="session")
def golden_vae() -> Path:
    """A small Wan 2.2 VAE under native names, float32."""
    return REFERENCE / "vae_weights_native.safetensors"


@pytest.fixture(scope="session")
def native(golden_dit: Path) -> dict[str, Tensor]:
    """The reference transformer's tensors under native names."""
    return dit_to_native(read_checkpoint(golden_dit).state)


@pytest.fixture(scope="session")
def golden_config() -> DiTConfig:
    return DiTConfig(num_heads=2, head_dim=32, num_layers=3, ffn_dim=96, latent_channels=6, text_dim=24, freq_dim=32)


@pytest.fixture(scope="session")
def meta_state() -> dict[str, Tensor]:
    """WAN-5B's 889 tensors on the meta device: real names and shapes, no memory."""
    return {name: torch.empty(shape, device="meta") for name, shape in dit_shapes(DiTConfig()).items()}
