"""float8_e4m3fn: rounding and scales, the file format ComfyUI reads, and layers that multiply in fp8.

Only Linear weights in the blocks are rounded: 98 % of the model. The others are small, and their rounding error would
reach every token.

In a file a quantised layer has `weight` (float8_e4m3fn) and `scale_weight` (float32 scalar), whose product is the
weight; the tensor `scaled_fp8` marks the file. Also read: `weight_scale` and `comfy_quant` (newer spelling), per-row
scales, and fp8 without scales.

An fp8 product rounds both factors, with one scale per input row and per output channel: some 3 % relative error in each
layer, at twice the tensor cores' rate.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from .errors import InputError

FP8 = torch.float8_e4m3fn
FP8_MAX = 448.0
FP8_DTYPES = frozenset({FP8, torch.float8_e5m2})
MARKER = "scaled_fp8"

SUMS_IN_FLOAT32_FROM = 8192
"""Products in a sum from which `multiply` adds them in float32, for 5 to 16 % more time.

Hopper's tensor cores keep too few bits of their own sums of fp8 products. Where both factors have a mean of half a
deviation, sums of 14,336 lose 3.7 % and sums of 3,072 0.5 %; in float32 all lose 0.2 %, which is bfloat16's rounding.
"""

QuantiseRows = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Rows `[N, E]` as fp8, and the float32 scales `[N, 1]` to multiply them with."""

_QUANTISED = re.compile(
    r"blocks\.\d+\.(?:(?:self|cross)_attn\.(?:q|k|v|o|o_prope)|cam_self_attn\.(?:q|k|v|out)_proj|ffn\.[02])\.weight"
)
_SCALE = re.compile(r"(?P<layer>.+)\.(?:scale_weight|weight_scale)")
_IGNORED = re.compile(r".+\.(?:scale_input|input_scale|comfy_quant)|" + MARKER)


def is_quantised_layer(name: str) -> bool:
    """Whether the tensor of this native name is rounded to fp8."""
    return _QUANTISED.fullmatch(name) is not None


def scale_name(name: str) -> str:
    """Name in a file of the scale of the weight `name`."""
    return f"{name.removesuffix('.weight')}.scale_weight"


def marker() -> Tensor:
    """The tensor that marks a scaled fp8 file.

    Two elements tell ComfyUI to multiply in full precision, because there are no scales for activations.
    """
    return torch.zeros(2).to(FP8)


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """`weight` as float8_e4m3fn, and its float32 scalar scale: max|weight| / 448, or 1 for zeros."""
    values = weight.float()
    return _rounded(values, torch.stack(values.aminmax()).abs().amax())


def quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """See `QuantiseRows`; a row's scale is max|row| / 448, or 1 for a row of zeros."""
    values = x.float()
    return _rounded(values, values.abs().amax(dim=1, keepdim=True))


def _rounded(values: Tensor, amax: Tensor) -> tuple[Tensor, Tensor]:
    scale = torch.where(amax > 0, amax / FP8_MAX, torch.ones_like(amax))
    return to_fp8(values / scale), scale


def to_fp8(values: Tensor) -> Tensor:
    """`values`, which are overwritten, as float8_e4m3fn; larger ones, for which it has no infinity, as the largest."""
    return values.clamp_(-FP8_MAX, FP8_MAX).to(FP8)


def dequantise(weight: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    """`weight` times `scale` (one per tensor, or one per row of a matrix) in `dtype`; no scale is 1."""
    if scale is None:
        return weight.to(dtype)
    columns = (1,) * (weight.ndim - 1)
    return (weight.float() * scale.to(weight.device, torch.float32).reshape(-1, *columns)).to(dtype)


def split_scales(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """`(weights, scales)`: the model's tensors, and the scales by the name of their weight.

    Raises `InputError` for a scale without its weight, or scales finer than one per row.
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


def dequantise_state(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Fp8 weights in `dtype`, other tensors as they are, scales and marker dropped; raises as `split_scales`."""
    weights, scales = split_scales(state)
    return {
        name: dequantise(tensor, scales.get(name), dtype) if tensor.dtype in FP8_DTYPES else tensor
        for name, tensor in weights.items()
    }


def multiply(
    x: Tensor, x_scale: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """Rows `[N, in]` times `weight` `[out, in]` transposed, both fp8 with a scale per row, plus `bias`: `[N, out]`."""
    if not x.is_cuda:
        product = dequantise(x, x_scale, torch.float32) @ dequantise(weight, weight_scale, torch.float32).t()
        return (product if bias is None else product + bias.float()).to(dtype)
    # With row-wise scales older torch gives only bfloat16; it is finer than the factors.
    wide = torch.bfloat16
    product = torch._scaled_mm(
        x,
        weight.t(),
        scale_a=x_scale,
        scale_b=weight_scale.t(),
        bias=None if bias is None else bias.to(wide),
        out_dtype=wide,
        use_fast_accum=x.shape[1] < SUMS_IN_FLOAT32_FROM,
    )
    return product.to(dtype)


class Rounded(NamedTuple):
    """Rows `[..., E]` that are fp8 already, with their scales `[N, 1]`."""

    rows: Tensor
    scale: Tensor

    @property
    def shape(self) -> torch.Size:
        return self.rows.shape


class Fp8Linear(nn.Module):
    """Linear with an fp8 weight, whose input is rounded to fp8 row by row in every forward, unless it is `Rounded`.

    weight: `[out, in]`, float8_e4m3fn.
    scale: `[out, 1]`, float32.
    bias: `[out]` in the dtype of the result.
    """

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor, quantise: QuantiseRows) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)
        self.quantise = quantise

    def forward(self, x: Tensor | Rounded) -> Tensor:
        if isinstance(x, Rounded):
            rows, scale = x.rows.reshape(-1, x.shape[-1]), x.scale
        else:
            rows, scale = self.quantise(x.reshape(-1, x.shape[-1]))
        return self.product(rows, scale).view(*x.shape[:-1], -1)

    def product(self, x: Tensor, x_scale: Tensor) -> Tensor:
        """`[N, out]` from an input that is already rounded."""
        weight, scale, bias = (cast("Tensor", t) for t in (self.weight, self.scale, self.bias))
        return multiply(x, x_scale, weight, scale, bias, bias.dtype)


def use_fp8(
    model: nn.Module, quantise: QuantiseRows = quantise_rows, scales: Mapping[str, Tensor] | None = None
) -> None:
    """Replace every Linear in the blocks of a `WanDiT` by `Fp8Linear`; self-attention's q, k and v become one.

    quantise: rounds the layers' inputs.
    scales: of weights that are fp8 already, by parameter name: a scalar or one per output channel; no scale is 1.
    """
    known = scales or {}

    def joined(*names: str) -> Fp8Linear:
        linears = [cast("nn.Linear", model.get_submodule(name)) for name in names]
        rows = map(rows_of, (linear.weight for linear in linears), (known.get(f"{name}.weight") for name in names))
        weights, row_scales = (torch.cat(parts) for parts in zip(*rows, strict=True))
        return Fp8Linear(weights, row_scales, torch.cat([linear.bias for linear in linears]), quantise)

    with torch.no_grad():
        for name, module in list(model.named_modules()):
            if name.endswith(".self_attn"):
                attention: Any = module
                attention.qkv = joined(*(f"{name}.{part}" for part in "qkv"))
                attention.q = attention.k = attention.v = None
        for name, _ in list(model.named_modules()):
            if is_quantised_layer(f"{name}.weight"):
                model.set_submodule(name, joined(name))


def rows_of(weight: Tensor, scale: Tensor | None) -> tuple[Tensor, Tensor]:
    """`weight` `[out, in]` as float8_e4m3fn with one scale per row, `[out, 1]`.

    A weight that is that already is unchanged; `scale` is its own, scalar or per row, None for 1.
    """
    if weight.dtype != FP8:
        return quantise_rows(weight.detach())
    ones = torch.ones(weight.shape[0], 1, device=weight.device)
    return weight.detach(), ones if scale is None else ones * scale.to(ones).reshape(-1, 1)
