"""Matrix products in float8_e4m3fn, with one scale for every row of the input and for every output channel.

Both factors of a product are rounded to fp8, which costs some 3 % of relative error in each layer and brings the tensor
cores' double rate. The scales of the inputs are measured anew in every forward.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from .model import Block, WorldPlayDiT

FP8 = torch.float8_e4m3fn
FP8_MAX = 448.0

QuantiseRows = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Rows `[N, E]` as fp8, and the float32 scales `[N, 1]` that multiply them back."""


def quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """See `QuantiseRows`; scale = max|row| / 448, or 1 for a row of zeros."""
    values = x.float()
    amax = values.abs().amax(dim=1, keepdim=True)
    scale = torch.where(amax > 0, amax / FP8_MAX, torch.ones_like(amax))
    # Division can round one step past the largest fp8 number, which has no infinity to fall into.
    return (values / scale).clamp(-FP8_MAX, FP8_MAX).to(FP8), scale


def multiply(
    x: Tensor, x_scale: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """Rows `[N, in]` times `weight` `[out, in]` transposed, both fp8 with a scale per row, plus `bias`: `[N, out]`."""
    if not x.is_cuda:
        product = (x.float() * x_scale) @ (weight.float() * weight_scale).t()
        return (product if bias is None else product + bias.float()).to(dtype)
    # With a scale for every row, older torch gives bfloat16 alone; it is finer than the factors were.
    wide = torch.bfloat16
    product = torch._scaled_mm(
        x,
        weight.t(),
        scale_a=x_scale,
        scale_b=weight_scale.t(),
        bias=None if bias is None else bias.to(wide),
        out_dtype=wide,
        use_fast_accum=True,
    )
    return product.to(dtype)


class Fp8Linear(nn.Module):
    """A Linear whose weight is fp8 with a scale per output channel and whose input is rounded to fp8 row by row.

    Args:
        weight: `[out, in]`, float8_e4m3fn.
        scale: `[out, 1]`, float32.
        bias: `[out]` in the dtype of the result.
        quantise: how to round the input.
    """

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor, quantise: QuantiseRows) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)
        self.quantise = quantise

    def forward(self, x: Tensor) -> Tensor:
        return self.product(*self.quantise(x.reshape(-1, x.shape[-1]))).view(*x.shape[:-1], -1)

    def product(self, x: Tensor, x_scale: Tensor) -> Tensor:
        """`[N, out]` from an input that is rounded already."""
        weight, scale, bias = (cast("Tensor", t) for t in (self.weight, self.scale, self.bias))
        return multiply(x, x_scale, weight, scale, bias, bias.dtype)


def use_fp8(
    model: WorldPlayDiT, quantise: QuantiseRows = quantise_rows, scales: Mapping[str, Tensor] | None = None
) -> None:
    """Put fp8 layers in the place of every Linear of the blocks: 98 % of the model, and all its large products.

    q, k and v of the self-attention, which read the same input, become one layer.

    Args:
        quantise: how the layers round their inputs.
        scales: of weights that are fp8 already, by parameter name: a scalar or one per output channel; no scale is 1.
    """
    known = scales or {}

    def joined(prefix: str, parent: nn.Module, *names: str) -> Fp8Linear:
        linears = [cast("nn.Linear", getattr(parent, name)) for name in names]
        rows = [
            rows_of(linear.weight, known.get(f"{prefix}.{name}.weight"))
            for linear, name in zip(linears, names, strict=True)
        ]
        weights, row_scales = zip(*rows, strict=True)
        bias = torch.cat([linear.bias for linear in linears])
        return Fp8Linear(torch.cat(weights), torch.cat(row_scales), bias, quantise)

    with torch.no_grad():
        for i, block in enumerate(cast("list[Block]", list(model.blocks))):
            attention = block.self_attn
            attention.qkv = joined(f"blocks.{i}.self_attn", attention, "q", "k", "v")
            attention.q = attention.k = attention.v = None
            for parent in ("self_attn", "cross_attn", "ffn"):
                module = block.get_submodule(parent)
                for name, child in list(module.named_children()):
                    if isinstance(child, nn.Linear):
                        setattr(module, name, joined(f"blocks.{i}.{parent}", module, name))


def rows_of(weight: Tensor, scale: Tensor | None) -> tuple[Tensor, Tensor]:
    """`weight` `[out, in]` as float8_e4m3fn with one scale per row, `[out, 1]`.

    A weight that is that already stays as it is; `scale` is its own, for the whole of it or per row, None for 1.
    """
    if weight.dtype != FP8:
        return quantise_rows(weight.detach())
    ones = torch.ones(weight.shape[0], 1, device=weight.device)
    return weight.detach(), ones if scale is None else ones * scale.to(ones).reshape(-1, 1)
