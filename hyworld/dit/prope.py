"""PRoPE ("Cameras as Relative Positional Encoding"), in WorldPlay's form.

Every 4-vector of a head is multiplied by a 4x4 matrix of its frame's camera, so that attention scores depend on the
projective transform between two cameras.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class CameraProjections(NamedTuple):
    """4x4 matrices per frame, float32 `[B, F, 4, 4]`, each applied as `matrix @ vector`."""

    q: Tensor  # P transposed
    kv: Tensor  # P inverse
    out: Tensor  # P


def camera_projections(viewmats: Tensor, intrinsics: Tensor) -> CameraProjections:
    """P = lift(K) @ W for world-to-camera `viewmats` `[B, F, 4, 4]` and normalised `intrinsics` `[B, F, 3, 3]`.

    K keeps only the focal lengths, as in the original. In float32, because bf16 translations drift on long paths.
    """
    viewmats, intrinsics = viewmats.float(), intrinsics.float()
    focal = torch.ones_like(viewmats[..., 0])
    focal[..., 0] = intrinsics[..., 0, 0]
    focal[..., 1] = intrinsics[..., 1, 1]

    rotation_t = viewmats[..., :3, :3].transpose(-1, -2)
    inverse = torch.zeros_like(viewmats)
    inverse[..., :3, :3] = rotation_t
    inverse[..., :3, 3:] = -rotation_t @ viewmats[..., :3, 3:]
    inverse[..., 3, 3] = 1.0

    projection = focal.unsqueeze(-1) * viewmats
    return CameraProjections(q=projection.transpose(-1, -2), kv=inverse / focal.unsqueeze(-2), out=projection)


def apply_projection(x: Tensor, matrix: Tensor) -> Tensor:
    """Multiply every consecutive 4-vector of `x` `[B, F, S, heads, D]` by its frame's `matrix` `[B, F, 4, 4]`."""
    vectors = x.float().reshape(*x.shape[:2], -1, 4)
    return (vectors @ matrix.transpose(-1, -2)).reshape(x.shape).to(x.dtype)
