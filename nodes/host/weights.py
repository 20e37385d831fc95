"""A MODEL's weights as its network runs with them, wherever and however the host keeps them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.lora
import comfy.ops
import comfy.utils
import torch
from torch import Tensor

_QUANTISED = getattr(comfy.ops, "QuantizedTensor", None)


def weigher(patcher: Any) -> Callable[[str, torch.device], Tensor]:
    """A function that gives the weight of the network's parameter `name`, patched and dequantised, on a device.

    The MODEL must be loaded: what the host has patched in place is taken as it is, and the rest patched here.
    """

    def weigh(name: str, device: torch.device) -> Tensor:
        key = f"diffusion_model.{name}"
        place, _, leaf = key.rpartition(".")
        layer = comfy.utils.get_attr(patcher.model, place)
        weight = getattr(layer, leaf)
        if _QUANTISED is not None and isinstance(weight, _QUANTISED):
            weight = weight.to(device).dequantize()
        weight = weight.detach().to(device, torch.float32)
        if leaf == "weight" and hasattr(layer, "convert_weight"):
            weight = layer.convert_weight(weight, inplace=False)
        if key in patcher.patches and key not in patcher.backup and hasattr(layer, "comfy_cast_weights"):
            weight = comfy.lora.calculate_weight(patcher.patches[key], weight.clone(), key)
        return weight

    return weigh
