"""Weights in the host's dynamic memory: pages that keep their addresses, and may be taken whenever they are not pinned.

Hosts before 0.33 have none, and neither have CPUs.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from typing import Any

import comfy.ops
import torch
from torch import Tensor, nn


def is_paged(layer: nn.Module) -> bool:
    """Whether the host keeps the weights of this layer in pages."""
    return hasattr(layer, "_v")


def fetched(
    layers: Iterable[Any], device: torch.device, dtype: torch.dtype
) -> dict[nn.Module, dict[str, Tensor]] | None:
    """Weights and biases, patched, as they lie in the pages of these layers.

    None if they do not all fit, or are of another dtype than `dtype`.
    """
    found: dict[nn.Module, dict[str, Tensor]] = {}
    for layer in layers:
        weight, bias, stream = comfy.ops.cast_bias_weight(
            layer, dtype=dtype, device=device, bias_dtype=dtype, offloadable=True
        )
        comfy.ops.uncast_bias_weight(layer, weight, bias, stream)
        if layer._v_signature is None:  # there was no room, and it was fetched for this once
            return None
        kept = {"weight": layer._v_weight, "bias": layer._v_bias}
        found[layer] = {name: tensor for name, tensor in kept.items() if tensor is not None}
        if any(type(tensor) is not Tensor or tensor.dtype != dtype for tensor in found[layer].values()):
            return None
    return found


class Pages:
    """The pages of `layers`, as `fetched` found them."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self._layers = layers
        self._pinned: list[Any] = []
        self._vbar = importlib.import_module("comfy_aimdo.model_vbar") if layers else None

    def __bool__(self) -> bool:
        return bool(self._layers)

    def pin(self) -> bool:
        """Keep all of them on the card until `unpin`; False, and none are, if one has been taken meanwhile."""
        for layer in self._layers:
            signature = self._vbar.vbar_fault(layer._v)
            if signature is not None:
                self._pinned.append(layer)
            if not self._vbar.vbar_signature_compare(signature, layer._v_signature):
                self.unpin()
                return False
        return True

    def unpin(self) -> None:
        for layer in self._pinned:
            self._vbar.vbar_unpin(layer._v)
        self._pinned = []
