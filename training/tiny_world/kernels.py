"""The network's kernels for training: the camera products as float32 sums, which torch.compile fuses with the rest.

As sums they are no matrix products: autocast leaves them in float32.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from hyworld.dit.kernels import PLAIN, Kernels, branches, project


def projection_as_sums(x: Tensor, matrix: Tensor) -> Tensor:
    """See `hyworld.dit.prope.apply_projection`: `x` `[B, F, S, heads, D]`, `matrix` `[B, F, 4, 4]`."""
    vectors = x.float().unflatten(-1, (-1, 1, 4))
    return (vectors * matrix[:, :, None, None, None]).sum(dim=-1).flatten(-2).to(x.dtype)


TRAINING: Kernels = PLAIN._replace(
    branches=partial(branches, projection=projection_as_sums), project=partial(project, projection=projection_as_sums)
)
