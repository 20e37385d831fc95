"""Scaled fp8: bounded error, ComfyUI's names, and nothing quantised that should not be."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hyworld.config import DiTConfig
from hyworld.errors import InputError
from hyworld.weights import dequantise_state, dit_shapes, quantise, split_scales
from hyworld.weights.fp8 import FP8, MARKER, dequantise, is_quantised_layer, marker


@given(st.integers(0, 2**31), st.floats(-30, 30))
def test_error_is_that_of_three_mantissa_bits(seed: int, exponent: float) -> None:
    weight = torch.randn(16, 8, generator=torch.Generator().manual_seed(seed)) * 2.0**exponent
    stored, scale = quantise(weight)
    assert (stored.dtype, scale.dtype, scale.shape) == (FP8, torch.float32, ())
    assert scale == weight.abs().max() / 448
    # Half a step: relative 2^-4 for normal numbers, absolute 2^-10 scales below the smallest normal.
    bound = torch.maximum(weight.abs() * 2**-4, scale * 2**-10) * 1.001
    assert ((dequantise(stored, scale, torch.float32) - weight).abs() <= bound).all()


def test_the_largest_number_survives_and_zeros_stay_zero() -> None:
    weight = torch.tensor([[-3.7, 0.0], [1.0, 3.7]])
    back = dequantise(*quantise(weight), torch.float32)
    torch.testing.assert_close(back.abs().max(), torch.tensor(3.7))
    assert back[0, 1] == 0
    stored, scale = quantise(torch.zeros(2, 2))
    assert scale == 1
    assert not stored.float().any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_quantising_narrow_weights_equals_quantising_them_wide(dtype: torch.dtype) -> None:
    weight = torch.randn(8, 8).to(dtype)
    narrow, wide = quantise(weight), quantise(weight.float())
    assert torch.equal(narrow[0].view(torch.uint8), wide[0].view(torch.uint8))
    assert torch.equal(narrow[1], wide[1])


def test_quantised_are_the_linears_inside_the_blocks() -> None:
    shapes = dit_shapes(DiTConfig())
    chosen = {name for name in shapes if is_quantised_layer(name)}
    assert len(chosen) == 30 * (5 + 4 + 2)
    assert all(name.startswith("blocks.") and name.endswith(".weight") and len(shapes[name]) == 2 for name in chosen)
    assert {name for name in shapes if name.startswith("blocks.") and len(shapes[name]) == 2} == chosen
    share = sum(math.prod(shapes[name]) for name in chosen) / sum(map(math.prod, shapes.values()))
    assert share > 0.97


def scaled(suffix: str, scale: Tensor) -> dict[str, Tensor]:
    weight = torch.tensor([[1.0, -2.0], [4.0, 448.0]]).to(FP8)
    return {"a.weight": weight, f"a.{suffix}": scale, "b.weight": torch.ones(2, dtype=torch.bfloat16)}


@pytest.mark.parametrize("suffix", ["scale_weight", "weight_scale"])
@pytest.mark.parametrize("scale", [torch.tensor(0.5), torch.tensor([0.5]), torch.full((2, 1), 0.5)])
def test_spellings_and_forms_of_scales(suffix: str, scale: Tensor) -> None:
    extras = {
        MARKER: marker(),
        "a.scale_input": torch.ones(()),
        "a.input_scale": torch.ones(()),
        "a.comfy_quant": torch.ones(3),
    }
    state = dequantise_state(scaled(suffix, scale) | extras, torch.bfloat16)
    assert state.keys() == {"a.weight", "b.weight"}
    assert torch.equal(state["a.weight"], torch.tensor([[0.5, -1.0], [2.0, 224.0]], dtype=torch.bfloat16))


def test_a_scale_per_row_multiplies_rows() -> None:
    state = dequantise_state(scaled("weight_scale", torch.tensor([1.0, 0.25])), torch.float32)
    assert torch.equal(state["a.weight"], torch.tensor([[1.0, -2.0], [1.0, 112.0]]))


def test_fp8_without_scale_is_a_plain_cast() -> None:
    state = scaled("scale_weight", torch.tensor(2.0))
    del state["a.scale_weight"]
    assert torch.equal(dequantise_state(state, torch.float32)["a.weight"], torch.tensor([[1.0, -2.0], [4.0, 448.0]]))


def test_scales_per_block_are_refused() -> None:
    with pytest.raises(InputError, match="quantised block by block"):
        dequantise_state(scaled("scale_weight", torch.ones(2, 2, 1)), torch.float32)


def test_a_scale_without_its_weight_is_refused() -> None:
    with pytest.raises(InputError, match=r"scale for c\.weight but not the weight"):
        split_scales({"c.scale_weight": torch.ones(())})


def test_the_marker_asks_comfyui_for_full_precision_products() -> None:
    assert marker().dtype == FP8
    assert marker().numel() == 2
