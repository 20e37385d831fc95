"""fp8 products under the host: its layers fetch and patch weights as usual; only the product changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.ops
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ...hyworld.fp8 import QuantiseRows, multiply

_LEAST_WIDTH = 1024
"""Narrower products (the head's, the embeddings' for a few frames) gain nothing from fp8."""

_QUANTISED = getattr(comfy.ops, "QuantizedTensor", None)
"""Newer hosts keep the weights of a scaled fp8 file in this class."""


class Fp8Products(TorchFunctionMode):
    """While active, `F.linear` of wide matrices multiplies in float8 with a scale per row.

    Both factors are rounded in every call, so weights may be offloaded, of any dtype, or changed by LoRAs.
    """

    def __init__(self, quantise: QuantiseRows) -> None:
        super().__init__()
        self._quantise = quantise
        self._last: tuple[Tensor, tuple[Tensor, Tensor]] | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.linear and not kwargs and _worth_it(*args):
            return self._product(*args)
        return func(*args, **(kwargs or {}))

    def __exit__(self, *raised: object) -> None:
        self._last = None
        super().__exit__(*raised)

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rows = self._rounded(x)
        if type(weight) is _QUANTISED:
            weight = weight.dequantize()
        product = multiply(*rows, *self._quantise(weight), bias, x.dtype)
        return product.view(*x.shape[:-1], -1)

    def _rounded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # q, k and v share their rows. Keeping the tensor makes sure that `is` compares the same one.
        if self._last is None or self._last[0] is not x:
            self._last = (x, self._quantise(x.reshape(-1, x.shape[-1])))
        return self._last[1]


def _worth_it(x: Any, weight: Any, bias: Any = None) -> bool:
    return (
        type(x) is Tensor
        and type(weight) in (Tensor, nn.Parameter, _QUANTISED)
        and x.shape[:-1].numel() >= _LEAST_WIDTH // 8
        and min(weight.shape) >= _LEAST_WIDTH
    )
