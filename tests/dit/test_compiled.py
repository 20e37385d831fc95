"""Fast paths of the network equal the plain ones."""

from __future__ import annotations

import pytest
import torch

from hyworld.config import DiTConfig
from hyworld.dit import KVMemory, WorldPlayDiT
from hyworld.dit.compiled import can_compile, compile_blocks
from hyworld.dit.prope import _apply_projection_unrolled, apply_projection
from hyworld.weights.random import randomise

CONFIG = DiTConfig(num_heads=2, head_dim=64, num_layers=2, ffn_dim=256, latent_channels=4, text_dim=16, freq_dim=32)


def test_unrolled_projection_equals_the_matrix_product():
    x, matrix = torch.randn(2, 3, 5, 2, 16), torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(_apply_projection_unrolled(x, matrix), apply_projection(x, matrix))


def test_what_is_missing_is_said():
    assert "not on cpu" in str(can_compile(torch.device("cpu")))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("frames", [4, 8, 16])
def test_compiled_blocks_equal_plain_ones(frames: int):
    device = torch.device("cuda")
    model = randomise(WorldPlayDiT(CONFIG, device=device), 0, device=device)
    text_kv = model.text_keys_values(torch.randn(1, 5, 16, device=device))
    memory = KVMemory(CONFIG, capacity_frames=20, tokens_per_frame=6, device=device)

    def control(count: int) -> dict[str, torch.Tensor]:
        viewmats = torch.eye(4, device=device).repeat(1, count, 1, 1)
        viewmats[0, :, :3, 3] = torch.randn(count, 3, device=device)
        intrinsics = torch.diag(torch.tensor([0.5, 0.9, 1.0], device=device)).repeat(1, count, 1, 1)
        return {
            "viewmats": viewmats,
            "intrinsics": intrinsics,
            "action": torch.randint(0, 81, (1, count), device=device),
        }

    old, new = torch.randn(1, 4, frames, 4, 6, device=device), torch.randn(1, 4, 4, 4, 6, device=device)
    clean, noisy = torch.full((1, frames), 14.0, device=device), torch.full((1, 4), 700.0, device=device)
    before, now = control(frames), control(4)

    def run() -> torch.Tensor:
        model(old, clean, text_kv, **before, memory=memory, prefill=True)
        flow = model(new, noisy, text_kv, **now, memory=memory)
        assert flow is not None
        return flow

    with torch.no_grad():
        plain = run()
        compile_blocks(model)
        torch.testing.assert_close(run(), plain, rtol=1e-3, atol=1e-4)
