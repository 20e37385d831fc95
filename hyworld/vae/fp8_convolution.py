"""The decoder's large convolutions in fp8, in plain PyTorch: the reference for `fused_fp8`.

Rounded are the 3x3x3 convolutions of the residual blocks, nine tenths of the decoder's work. The norm before each
bounds what it reads, so a factor chosen with the weights keeps that within fp8's range. Tensors are
`[B, C, T, H, W]`.
"""

from __future__ import annotations

import math
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from ..fp8 import FP8_MAX, quantise_rows
from .causal import CausalVAE
from .layers import ResidualBlock, RMSNorm

LEAST = 32
"""Channels of a step of the tensor cores."""


def factor_for(gain: Tensor) -> float:
    """What SiLU of normed values is multiplied with before it is rounded: the largest possible becomes 448."""
    largest = float(gain.detach().abs().max()) * math.sqrt(gain.numel())
    return FP8_MAX / largest if largest else 1.0


def use_fp8_convolutions(vae: CausalVAE) -> None:
    """Replace the 3x3x3 convolutions of the decoder's residual blocks, unless they are too narrow or replaced."""
    for block in vae.decoder.modules():
        if isinstance(block, ResidualBlock):
            for first, then in (("0", "2"), ("3", "6")):
                norm, conv = cast("RMSNorm", block.residual[first]), block.residual[then]
                if isinstance(conv, nn.Conv3d) and conv.in_channels % LEAST == conv.out_channels % LEAST == 0:
                    assert conv.bias is not None
                    norm.factor = factor_for(norm.gamma)
                    block.residual[then] = Fp8Conv3d(conv.weight, conv.bias, norm.factor)


class Fp8Conv3d(nn.Module):
    """A 3x3x3 convolution with fp8 weights, of `factor` times its input in fp8.

    weight: `[out, 27 * in]`, float8_e4m3fn; the taps' order is time, row, column.
    scale: `[out]`, float32; makes up for the weights' scale and for `factor`.
    bias: `[out]`, in the dtype of the result.
    """

    kernel_size = (3, 3, 3)

    def __init__(self, weight: Tensor, bias: Tensor, factor: float) -> None:
        super().__init__()
        rows, scale = quantise_rows(weight.detach().movedim(1, -1).flatten(1))
        self.padding = (0, 1, 1)
        # Parameters, since hosts move no module that has none.
        self.weight = nn.Parameter(rows, requires_grad=False)
        self.scale = nn.Parameter(scale.flatten() / factor, requires_grad=False)
        self.bias = nn.Parameter(bias.detach(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.float().unflatten(1, (*self.kernel_size, -1)).movedim(-1, 1)
        out = F.conv3d(x.float(), weight, None, 1, self.padding)
        return (out * self.scale.view(-1, 1, 1, 1) + self.bias.float().view(-1, 1, 1, 1)).to(self.bias.dtype)
