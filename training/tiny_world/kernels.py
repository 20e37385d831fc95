"""The network's kernels for training: the camera products as float32 sums, which torch.compile fuses with the rest.

They mean what `hyworld.dit.kernels` says. As sums they are no matrix products: autocast leaves them in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyworld.dit.kernels import PLAIN, Kernels, RopeTables
from hyworld.dit.rope import apply_rope


def apply_projection(x: Tensor, matrix: Tensor) -> Tensor:
    """See `hyworld.dit.prope.apply_projection`: `x` `[B, F, S, heads, D]`, `matrix` `[B, F, 4, 4]`."""
    vectors = x.float().unflatten(-1, (-1, 1, 4))
    return (vectors * matrix[:, :, None, None, None]).sum(dim=-1).flatten(-2).to(x.dtype)


def branches(
    x_BFSE: Tensor,
    heads: int,
    norm: nn.Module | None,
    rope: RopeTables | None,
    matrix: Tensor,
    out: Tensor | None = None,
) -> Tensor:
    """See `hyworld.dit.kernels.branches`; without an `out`, which has no gradient."""
    assert out is None, "training keeps no keys and values"
    x = (x_BFSE if norm is None else norm(x_BFSE)).unflatten(-1, (heads, -1))
    turned = x if rope is None else apply_rope(x, *rope)
    return torch.cat((turned, apply_projection(x, matrix))).flatten(1, 2).transpose(1, 2)


def project(x_BHND: Tensor, matrix: Tensor) -> Tensor:
    """See `hyworld.dit.kernels.project`."""
    x = x_BHND.transpose(1, 2).unflatten(1, (matrix.shape[1], -1))
    return apply_projection(x, matrix).flatten(-2)


TRAINING: Kernels = PLAIN._replace(branches=branches, project=project)
