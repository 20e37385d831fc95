"""Models told apart by some of their numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hyworld import builtin
from hyworld.config import TINY, TINY_RANDOM
from hyworld.dit import WanDiT
from hyworld.fingerprint import fingerprint, same_model
from hyworld.fp8 import FP8
from hyworld.weights.random import randomise


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return dict(randomise(WanDiT(TINY_RANDOM.dit), 1).state_dict())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_precision_is_no_other_model(state: dict[str, Tensor], dtype: torch.dtype) -> None:
    assert same_model(fingerprint(state), fingerprint({name: tensor.to(dtype) for name, tensor in state.items()}))


def test_scaled_fp8_is_no_other_model(state: dict[str, Tensor]) -> None:
    scales = {name: tensor.abs().max() / 448 for name, tensor in state.items() if tensor.ndim == 2}
    rounded = {name: (tensor / scales[name]).to(FP8) if name in scales else tensor for name, tensor in state.items()}
    assert same_model(fingerprint(state), fingerprint(rounded, scales))
    assert not same_model(fingerprint(state), fingerprint(rounded)), "the scales matter"


def test_other_weights_are_another_model(state: dict[str, Tensor]) -> None:
    other = fingerprint(randomise(WanDiT(TINY_RANDOM.dit), 2).state_dict())
    assert not same_model(fingerprint(state), other)
    assert same_model(fingerprint(state), ())


def test_the_built_in_models_differ() -> None:
    trained, random = builtin.preset(TINY.name), TINY_RANDOM
    assert builtin.dit(trained).fingerprint
    assert not same_model(builtin.dit(trained).fingerprint, builtin.dit(random).fingerprint)
    assert not same_model(builtin.vae(trained).fingerprint, builtin.vae(random).fingerprint)
