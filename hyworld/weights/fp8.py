"""Scaled fp8: the storage format ComfyUI reads, and its way back to ordinary numbers.

A quantised layer stores `weight` as float8_e4m3fn and beside it `scale_weight`, a float32 scalar;
their product is the weight. The tensor `scaled_fp8` marks the file. Also read: the newer spelling
(`weight_scale`, `comfy_quant`), per-row scales, and fp8 without scales.

Quantised are the Linear weights inside the blocks and nothing else: they are 98 % of the model and the
only ones that large matrix products read. Biases, norms, modulation tables, embeddings and head weigh
little, and their rounding error would reach every token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import InputError

FP8 = torch.float8_e4m3fn
FP8_MAX = 448.0
FP8_DTYPES = frozenset({torch.float8_e4m3fn, torch.float8_e5m2})
MARKER = "scaled_fp8"
SCALE_LEAF = "scale_weight"

_QUANTISED = re.compile(r"blocks\.\d+\.(?:(?:self|cross)_attn\.(?:q|k|v|o|o_prope)|ffn\.[02])\.weight")
_SCALE = re.compile(r"(?P<layer>.+)\.(?:scale_weight|weight_scale)")
_IGNORED = re.compile(r".+\.(?:scale_input|input_scale|comfy_quant)|" + MARKER)


def is_quantised_layer(name: str) -> bool:
    """Whether the tensor of this native name is stored as fp8."""
    return _QUANTISED.fullmatch(name) is not None


def marker() -> Tensor:
    """The tensor that marks a scaled fp8 file.

    Two elements tell ComfyUI to multiply in full precision: the scales are of weights only, there are
    none for activations.
    """
    return torch.zeros(2).to(FP8)


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """`weight` as float8_e4m3fn and the float32 scalar that multiplies it back; scale = max|weight| / 448."""
    values = weight.float()
    amax = torch.stack(values.aminmax()).abs().amax()
    scale = torch.where(amax > 0, amax / FP8_MAX, torch.ones_like(amax))
    # Division can round one step past the largest fp8 number, which has no infinity to fall into.
    return (values / scale).clamp_(-FP8_MAX, FP8_MAX).to(FP8), scale


def split_scales(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """`(weights, scales)`: the model's tensors, and the scales by the name of the weight they multiply.

    Raises:
        InputError: a scale whose weight is missing, or scales finer than one per row.
    """
    weights: dict[str, Tensor] = {}
    scales: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if match := _SCALE.fullmatch(name):
            scales[f"{match['layer']}.weight"] = tensor
        elif not _IGNORED.fullmatch(name):
            weights[name] = tensor
    for name, scale in scales.items():
        if name not in weights:
            raise InputError(f"The checkpoint has an fp8 scale for {name} but not the weight: give the complete file.")
        weight = weights[name]
        if scale.numel() != 1 and tuple(scale.shape) not in ((weight.shape[0],), (weight.shape[0], 1)):
            raise InputError(
                f"The checkpoint is quantised block by block ({name} of shape {list(weight.shape)} has scales of shape "
                f"{list(scale.shape)}), which is not supported: give bf16, fp16, or fp8 scaled per tensor."
            )
    return weights, scales


def dequantise(weight: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    """`weight` times `scale` (one per tensor, or one per row of a matrix) in `dtype`; no scale is 1."""
    if scale is None:
        return weight.to(dtype)
    columns = (1,) * (weight.ndim - 1)
    return (weight.float() * scale.to(weight.device, torch.float32).reshape(-1, *columns)).to(dtype)


def dequantise_state(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Every fp8 weight in `dtype`, scales and marker gone; other tensors as they are."""
    weights, scales = split_scales(state)
    return {
        name: dequantise(tensor, scales.get(name), dtype) if tensor.dtype in FP8_DTYPES else tensor
        for name, tensor in weights.items()
    }
