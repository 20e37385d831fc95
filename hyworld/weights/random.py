"""Random weights, as costly to run as trained ones: for `tiny-random`, benchmarks and tests."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)

_GAINS = (
    "gamma",
    "norm_q.weight",
    "norm_k.weight",
    "norm_k_img.weight",
    "norm3.weight",
    "img_emb.proj.0.weight",
    "img_emb.proj.4.weight",
)


def randomise(module: Module, seed: int, *, device: torch.device | str = "cpu") -> Module:
    """Fill every parameter in place; returns the module in eval mode and without gradients.

    Matrices and kernels are normal with variance 1 / fan-in, norm gains 1, biases and modulation tables normal with
    deviation 0.05. Values depend on names, seed and device; "cpu" gives the same everywhere.
    """
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            if name.endswith(_GAINS):
                parameter.fill_(1.0)
                continue
            kernel = parameter.ndim > 1 and not name.endswith("modulation")
            spread = 1.0 / math.sqrt(math.prod(parameter.shape[1:])) if kernel else 0.05
            drawn = torch.randn(parameter.shape, generator=generator, device=device) * spread
            parameter.copy_(drawn)
    return module.eval().requires_grad_(False)
