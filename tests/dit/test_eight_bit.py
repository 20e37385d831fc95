"""Keys and values kept in 8 bits: near the projected ones; the Triton kernels equal the plain functions."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import nn

from hyworld.dit.eight_bit import Kept, keep
from hyworld.dit.fp8_attention import PLAIN_FP8, camera_factors, spread
from hyworld.dit.rope import rope_table
from hyworld.fp8 import FP8

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CUT_OFF = 0.01 if DEVICE.type == "cuda" else 0.1
"""Triton's interpreter cuts numbers off where a GPU rounds, when it writes fp8."""


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def fused():
    pytest.importorskip("triton", reason="Triton is not installed")
    return importlib.import_module("hyworld.dit.fused_eight_bit")


def relative(got: torch.Tensor, want: torch.Tensor) -> float:
    return float((got.float() - want.float()).norm() / want.float().norm())


def room(batch: int, heads: int, head_dim: int, tokens: int) -> Kept:
    padded = -(-tokens // 16) * 16
    return Kept(
        torch.full((batch, heads, tokens, head_dim), 99, dtype=torch.int8, device=DEVICE),
        torch.full((batch, heads, head_dim, padded), 99, dtype=torch.int8, device=DEVICE),
        torch.full((2, batch, heads, tokens), 9.0, dtype=torch.float16, device=DEVICE),
    )


@pytest.mark.parametrize(("batch", "heads", "head_dim", "tokens"), [(1, 3, 32, 48), (2, 2, 24, 35)])
def test_both_branches_are_as_of_the_projected_numbers(fused, batch: int, heads: int, head_dim: int, tokens: int):
    frames, width, beyond = 3, heads * head_dim, 5
    length = frames * tokens
    k, v = torch.randn(2, batch, frames, tokens, 2 * width, device=DEVICE)[..., width:]
    norm = nn.RMSNorm(width, eps=1e-6, device=DEVICE)
    matrix = torch.randn(batch, frames, 4, 4, device=DEVICE)
    factors, rope = camera_factors(matrix, matrix), [x.to(DEVICE) for x in rope_table(head_dim, 0, frames, 1, tokens)]
    wants = (
        PLAIN_FP8.branches(k, heads, norm, rope, matrix, None, factors.k),
        PLAIN_FP8.values(v, heads, matrix, None, factors.v),
    )
    plain, by_triton = (room(batch, heads, head_dim, length + beyond) for _ in range(2))
    keep(k, v, norm, plain.tokens(length))
    fused.keep(k, v, norm, by_triton.tokens(length))
    for one, other in zip(plain, by_triton, strict=True):
        assert (one.float() - other.float()).abs().max() <= (1 if one.dtype == torch.int8 else 1e-3)
    for kept in (plain, by_triton):
        assert (kept.k[:, :, length:] == 99).all(), "nothing beside the slice may be written"
        assert (kept.v[..., length:] == 99).all()
        assert (kept.scales[..., length:] == 9).all()
    for function, far in ((spread, 0.03), (fused.spread, 0.03 + CUT_OFF)):
        out = [torch.full(want.shape, 3.0, device=DEVICE).to(FP8) for want in wants]
        function(plain.tokens(length), rope, matrix, out, factors)
        for got, want in zip(out, wants, strict=True):
            assert relative(got, want) < far


def test_kept_numbers_are_within_a_percent():
    k, v = torch.randn(2, 1, 2, 10, 64, device=DEVICE)
    kept = room(1, 2, 32, 20).tokens(20)
    keep(k, v, None, kept)
    for x, rounded, scale in ((k, kept.k, kept.scales[0]), (v, kept.v.transpose(-1, -2), kept.scales[1])):
        want = x.unflatten(-1, (2, 32)).flatten(1, 2).transpose(1, 2)
        assert 1e-3 < relative(rounded.float() * scale.float().unsqueeze(-1), want) < 0.01


def test_zeros_stay_zeros(fused):
    for function in (keep, fused.keep):
        kept = room(1, 2, 32, 20).tokens(20)
        function(torch.zeros(1, 2, 10, 64, device=DEVICE), torch.zeros(1, 2, 10, 64, device=DEVICE), None, kept)
        assert not kept.k.any()
        assert not kept.scales.any()
