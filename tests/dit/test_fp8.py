"""fp8 layers: rounding, their product, and what they are made from."""

from __future__ import annotations

import importlib

import pytest
import torch

from hyworld.config import DiTConfig
from hyworld.dit import Inputs, WorldPlayDiT
from hyworld.dit.fp8 import FP8, Fp8Linear, quantise_rows, use_fp8
from hyworld.weights.random import randomise

CONFIG = DiTConfig(num_heads=2, head_dim=32, num_layers=2, ffn_dim=128, latent_channels=4, text_dim=16, freq_dim=32)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def relative(got: torch.Tensor, want: torch.Tensor) -> float:
    return float((got.float() - want.float()).norm() / want.float().norm())


def test_rows_keep_their_own_scale():
    """A small row beside a large one loses nothing more; a row of zeros stays zero; nothing exceeds fp8's range."""
    x = torch.randn(4, 64) * torch.tensor([[1e-4], [1.0], [1e4], [0.0]])
    rounded, scale = quantise_rows(x)
    assert rounded.dtype == FP8
    assert scale.shape == (4, 1)
    back = rounded.float() * scale
    for row in range(3):
        assert relative(back[row], x[row]) < 0.03
    # Three bits behind the point: half a step is at most a sixteenth of the number, or half the smallest step there is.
    assert ((back - x).abs() <= x.abs() / 16 + scale * 2**-10).all()
    assert not back[3].any()


@pytest.mark.parametrize("gelu", [False, True])
def test_the_kernel_rounds_like_the_plain_function(gelu: bool):
    pytest.importorskip("triton", reason="Triton is not installed")
    fused = importlib.import_module("hyworld.dit.fused")
    x = torch.randn(5, 96, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    x[2] = 0
    want = torch.nn.functional.gelu(x, approximate="tanh") if gelu else x
    (got, scale), (rounded, row_scale) = fused._quantise(x, gelu=gelu), quantise_rows(want)
    torch.testing.assert_close(scale, row_scale, rtol=1e-5, atol=0)
    # Triton's interpreter rounds worse than a GPU: 127 becomes 64 there, for the carry of its mantissa is lost.
    worse = 0.1 if gelu else 0.06
    assert relative(got.float() * scale, want) < (0.03 if x.is_cuda else worse)
    assert relative(got.float() * scale, rounded.float() * row_scale) < (0.01 if x.is_cuda else worse)


def forward(model: WorldPlayDiT) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    latents, text = torch.randn(1, 4, 4, 4, 6, generator=generator), torch.randn(1, 5, 16, generator=generator)
    viewmats = torch.eye(4).repeat(1, 4, 1, 1)
    viewmats[0, :, :3, 3] = torch.randn(4, 3, generator=generator)
    intrinsics = torch.diag(torch.tensor([0.5, 0.9, 1.0])).repeat(1, 4, 1, 1)
    control = {"viewmats": viewmats, "intrinsics": intrinsics, "action": torch.tensor([[0, 9, 40, 80]])}
    with torch.no_grad():
        flow = model(Inputs(latents, torch.full((1, 4), 700.0), **control, text_kv=model.text_keys_values(text)))
    assert flow is not None
    return flow


def test_the_network_in_fp8_is_near_the_exact_one():
    exact = forward(randomise(WorldPlayDiT(CONFIG), 0))
    model = randomise(WorldPlayDiT(CONFIG), 0)
    use_fp8(model)
    assert not any(type(m) is torch.nn.Linear for m in model.blocks.modules())
    error = relative(forward(model), exact)
    assert 1e-4 < error < 0.1


def test_weights_that_are_fp8_already_are_taken_as_they_are():
    wide, stored = randomise(WorldPlayDiT(CONFIG), 0), randomise(WorldPlayDiT(CONFIG), 0)
    scales = {}
    for (name, a), (_, b) in zip(wide.blocks.named_modules(), stored.blocks.named_modules(), strict=True):
        if isinstance(a, torch.nn.Linear) and isinstance(b, torch.nn.Linear):
            scale = a.weight.abs().max() / 448
            b.weight = torch.nn.Parameter((b.weight / scale).to(FP8), requires_grad=False)
            scales[f"blocks.{name}.weight"] = scale
            a.weight = torch.nn.Parameter(b.weight.float() * scale, requires_grad=False)
    use_fp8(stored, scales=scales)
    layer = stored.blocks[0].ffn[0]
    assert isinstance(layer, Fp8Linear)
    assert torch.equal(layer.weight.float() * layer.scale, wide.blocks[0].ffn[0].weight)
    use_fp8(wide)
    assert relative(forward(stored), forward(wide)) < 0.05
