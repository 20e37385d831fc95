"""The convolution over time and space."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

_HAS_ONEDNN = torch.backends.mkldnn.is_available()


class _ByOneDNN:
    """On a CPU in float32 always by oneDNN: for small videos torch takes a way 5 to 15 times as long."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, *more: Any, **options: Any) -> Tensor:
        layer: Any = self
        learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
        others = learns or more or any(option is not None for option in options.values())
        if others or x.device.type != "cpu" or not x.dtype == weight.dtype == torch.float32 or not _HAS_ONEDNN:
            convolved: Tensor = super()._conv_forward(x, weight, bias, *more, **options)  # type: ignore[misc]
            return convolved
        return torch.mkldnn_convolution(x, weight, bias, layer.padding, layer.stride, layer.dilation, layer.groups)


class Conv3d(_ByOneDNN, nn.Conv3d):  # type: ignore[misc]
    """torch's, but see `_ByOneDNN`."""


@cache
def by_onednn(layer: type[nn.Module]) -> type[nn.Module]:
    """torch's `Conv3d` or a host's, likewise."""
    return Conv3d if layer is nn.Conv3d else type(layer.__name__, (_ByOneDNN, layer), {})
