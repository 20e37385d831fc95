"""The network's kernels for training: camera products as sums, which torch.compile fuses and autocast keeps float32."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from hyworld.dit.kernels import PLAIN, Kernels, branches, project


def projection_as_sums(x: Tensor, matrix: Tensor) -> Tensor:
    """`hyworld.dit.prope.apply_projection` of `x` `[B, F, S, heads, D]` and `matrix` `[B, F, 4, 4]`."""
    vectors = x.float().unflatten(-1, (-1, 1, 4))
    return (vectors * matrix[:, :, None, None, None]).sum(dim=-1).flatten(-2).to(x.dtype)


TRAINING: Kernels = PLAIN._replace(
    branches=partial(branches, projection=projection_as_sums), project=partial(project, projection=projection_as_sums)
)
