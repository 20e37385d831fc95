"""The decoder's large convolutions in fp8, in plain PyTorch: the reference for `fused_fp8`.

Rounded are the 3x3x3 convolutions of the residual blocks, nine tenths of the decoder's work: the norm before each bounds
what it reads, so one factor, chosen with the weights, keeps that within fp8's range. Tensors are `[B, C, T, H, W]`.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..fp8 import FP8, FP8_MAX, quantise_rows
from .layers import ResidualBlock, RMSNorm

LEAST = 32
"""Channels of a step of the tensor cores."""


def factor_for(gain: Tensor) -> float:
    """What SiLU of normed values is multiplied with before it is rounded: the largest possible becomes 448."""
    largest = float(gain.detach().abs().max()) * math.sqrt(gain.numel())
    return FP8_MAX / largest if largest else 1.0


def use_fp8_convolutions(decoder: nn.Module) -> None:
    """Replace the 3x3x3 convolutions of a decoder's residual blocks by `Fp8Conv3d`; `fused_fp8` needs wide ones."""
    for block in decoder.modules():
        if isinstance(block, ResidualBlock):
            for norm, conv in (("0", "2"), ("3", "6")):
                layer, before = cast("nn.Conv3d", block.residual[conv]), cast("RMSNorm", block.residual[norm])
                if layer.in_channels % LEAST == layer.out_channels % LEAST == 0:
                    before.factor = factor_for(before.gamma)
                    assert layer.bias is not None
                    block.residual[conv] = Fp8Conv3d(layer.weight, layer.bias, before.factor)


class Fp8Conv3d(nn.Module):
    """A 3x3x3 convolution with fp8 weights, of `factor` times its input in fp8.

    weight: `[out, 3, 3, 3, in]`, float8_e4m3fn.
    scale: `[out]`, float32; makes up for the weights' scale and for `factor`.
    bias: `[out]`, in the dtype of the result.
    """

    kernel_size = (3, 3, 3)

    def __init__(self, weight: Tensor, bias: Tensor, factor: float) -> None:
        super().__init__()
        rows, scale = quantise_rows(weight.detach().movedim(1, -1).flatten(1))
        self.padding = (0, 1, 1)
        self.register_buffer("weight", rows.view(len(rows), *self.kernel_size, -1))
        self.register_buffer("scale", scale.flatten() / factor)
        self.register_buffer("bias", bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        weight, scale, bias = (cast("Tensor", t) for t in (self.weight, self.scale, self.bias))
        out: Any = F.conv3d(x.float(), weight.float().movedim(-1, 1), None, 1, self.padding)
        return (out * scale.view(-1, 1, 1, 1) + bias.float().view(-1, 1, 1, 1)).to(bias.dtype)
