"""Linears in fp8 under the host: a weight is rounded once, where it is loaded, and the host moves and patches that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import comfy.ops
import torch
from torch import Tensor, nn

from ...hyworld.fp8 import FP8, FP8_MAX, QuantiseRows, dequantise, is_quantised_layer, multiply, rows_of

_UNCAST = getattr(comfy.ops, "uncast_bias_weight", None)
"""Newer hosts want to know when a weight they fetched is no longer needed."""


class Source(NamedTuple):
    """A weight as the checkpoint has it, a view of the mapped file; `scale` as `fp8.dequantise` takes it."""

    weight: Tensor
    scale: Tensor | None

    def copy(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """The weight multiplied out, to be changed in place."""
        if self.scale is None:
            return self.weight.to(device, dtype, copy=True)
        return dequantise(self.weight.to(device), self.scale, dtype)


class HostFp8Linear(nn.Module, comfy.ops.CastWeightBiasOp):
    """`Fp8Linear` with Parameters that the host moves, offloads and patches.

    LoRAs are added to the weight of the checkpoint, and the sum is rounded: added to the rounded weight, most of a
    small change would be lost. A layer that is loaded is patched once, an offloaded one in every forward.
    """

    comfy_cast_weights = False

    def __init__(self, source: Source, bias: Tensor, quantise: QuantiseRows, device: torch.device) -> None:
        """device: where the weight is rounded; it is then kept where `bias` is."""
        super().__init__()
        self._source = source
        self.quantise = quantise
        weight, scale = self._rounded_source(device)
        self.weight = nn.Parameter(weight.to(bias.device), requires_grad=False)
        self.scale_weight = nn.Parameter(scale.to(bias.device), requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)

    def _rounded_source(self, device: torch.device) -> tuple[Tensor, Tensor]:
        weight, scale = self._source
        if weight.dtype == FP8:
            return rows_of(weight.to(device), scale)
        return self.quantise(self._source.copy(device, torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        return self.product(*self.quantise(x.reshape(-1, x.shape[-1])), x.dtype).view(*x.shape[:-1], -1)

    def product(self, rows: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
        """`[N, out]` in `dtype` of an input that is already rounded."""
        if self.is_loaded(rows.device):
            return multiply(rows, scales, self.weight, self.scale_weight, self.bias.to(dtype), dtype)
        with self._fetched(rows.device, dtype) as (weight, weight_scale, bias):
            return multiply(rows, scales, weight, weight_scale, bias, dtype)

    def is_loaded(self, device: torch.device) -> bool:
        """Whether its weight and bias lie on `device` as they are to be used."""
        return self.weight.device == self.bias.device == device and not (self.weight_function or self.bias_function)

    @contextmanager
    def _fetched(self, device: torch.device, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        if self.weight_function or self.bias_function:
            weight, bias = self._source.copy(device, dtype), self.bias.to(device, dtype)
            for change in self.weight_function:
                weight = change(weight)
            for change in self.bias_function:
                bias = change(bias)
            yield (*self.quantise(weight), bias)
            return
        later = {} if _UNCAST is None else {"offloadable": True}
        weight, bias, *stream = comfy.ops.cast_bias_weight(self, dtype=FP8, device=device, bias_dtype=dtype, **later)
        try:
            yield weight, self.scale_weight.to(device), bias
        finally:
            if _UNCAST is not None:
                _UNCAST(self, weight, bias, *stream)

    def convert_weight(self, weight: Tensor, **_: Any) -> Tensor:
        """What the host adds LoRAs to, in the dtype and on the device of `weight`; once patched, what it holds."""
        if "_own_scale" in vars(self):
            return dequantise(self.weight, self.scale_weight, weight.dtype).to(weight.device)
        return self._source.copy(weight.device, weight.dtype)

    def set_weight(
        self, weight: Tensor, inplace_update: bool = False, return_weight: bool = False, **_: Any
    ) -> Tensor | None:
        """Take a patched weight, or return it as it would be kept. The host puts the old one back as `weight`."""
        if inplace_update or return_weight:  # the scale stays, for the host keeps none
            scaled = weight.float() / self.scale_weight.to(weight.device)
            rounded = scaled.clamp_(-FP8_MAX, FP8_MAX).to(FP8)
            if return_weight:
                return rounded
            self.weight.data.copy_(rounded)
            return None
        rounded, scale = self.quantise(weight)
        own = vars(self).get("_own_scale", self.scale_weight)
        self.weight = nn.Parameter(rounded, requires_grad=False)
        self.scale_weight = nn.Parameter(scale, requires_grad=False)
        vars(self)["_own_scale"] = own
        return None

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "weight" and "_own_scale" in vars(self):
            self.scale_weight = vars(self).pop("_own_scale")

    def _load_from_state_dict(self, *_: Any) -> None:
        """It has its weight already."""


def take_linears(state: MutableMapping[str, Tensor], scales: Mapping[str, Tensor]) -> dict[str, Source]:
    """Take the blocks' Linear weights out of `state`, by the name of their layer."""
    names = [name for name in state if is_quantised_layer(name)]
    return {name.removesuffix(".weight"): Source(state.pop(name), scales.get(name)) for name in names}


def put_linears(
    model: nn.Module, sources: Mapping[str, Source], biases: Mapping[str, Tensor], quantise: QuantiseRows,
    device: torch.device,
) -> None:  # fmt: skip
    """Put an `HostFp8Linear` in the place of each layer of `sources`, whose bias is in `biases`; see there."""
    for name, source in sources.items():
        model.set_submodule(name, HostFp8Linear(source, biases[name], quantise, device))
