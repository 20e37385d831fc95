"""A MODEL's weights as its network runs with them, wherever and however the host keeps them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.lora
import comfy.ops
import comfy.utils
import torch
from torch import Tensor, nn

from ...hyworld.fp8 import FP8

_QUANTISED = getattr(comfy.ops, "QuantizedTensor", None)


def weigher(patcher: Any) -> Callable[[str, torch.device], Tensor]:
    """A function that gives the weight of the network's parameter `name`, patched and dequantised, on a device.

    The MODEL must be loaded: what the host has patched in place is taken as it is, and the rest patched here.
    """
    as_stored = in_fp8(patcher)

    def weigh(name: str, device: torch.device) -> Tensor:
        key = f"diffusion_model.{name}"
        place, _, leaf = key.rpartition(".")
        layer = comfy.utils.get_attr(patcher.model, place)
        weight = getattr(layer, leaf)
        if name in as_stored:
            return weight.detach().to(device)
        if _QUANTISED is not None and isinstance(weight, _QUANTISED):
            weight = weight.to(device).dequantize()
        weight = weight.detach().to(device, torch.float32)
        if leaf == "weight" and hasattr(layer, "convert_weight"):
            weight = layer.convert_weight(weight, inplace=False)
        if key in patcher.patches and key not in patcher.backup and hasattr(layer, "comfy_cast_weights"):
            weight = comfy.lora.calculate_weight(patcher.patches[key], weight.clone(), key)
        return weight

    return weigh


def in_fp8(patcher: Any) -> frozenset[str]:
    """Names of Linears' weights that the host keeps as fp8 without scales, and casts in every forward."""
    names = []
    for layer, module in patcher.model.diffusion_model.named_modules():
        key, weight = f"diffusion_model.{layer}.weight", getattr(module, "weight", None)
        patched_later = key in patcher.patches and key not in patcher.backup
        plain = isinstance(module, nn.Linear) and type(weight) is nn.Parameter and not hasattr(module, "scale_weight")
        if plain and weight.dtype == FP8 and not patched_later:
            names.append(f"{layer}.weight")
    return frozenset(names)
