"""3-axis rotary position embedding (RoPE) over (frame, row, column). Source: Wan 2.2 / WorldPlay `WanRotaryPosEmbed`.

The head dim D is split t | h | w with h = w = 2 * (D // 6); each part rotates interleaved pairs with theta 10000.
"""

from __future__ import annotations

import torch
from torch import Tensor

THETA = 10_000.0


def rope_table(head_dim: int, start: int, frames: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[frames, height * width, head_dim // 2]`, float32 on the CPU; the first frame is `start`."""
    spatial = 2 * (head_dim // 6)
    parts = (head_dim - 2 * spatial, spatial, spatial)
    frequency = torch.cat([THETA ** -(torch.arange(0, n, 2, dtype=torch.float64) / n) for n in parts if n])

    # The original cuts its tables at D // 3 but fills them at 2 * (D // 6). They agree where D // 3 is even, as at the
    # shipped D = 128; elsewhere some columns follow the neighbouring axis, here too.
    third = head_dim // 3
    axis_of_column = torch.tensor([0] * (head_dim - 2 * third) + [1] * third + [2] * third)

    positions = torch.stack(
        torch.meshgrid(
            torch.arange(start, start + frames, dtype=torch.float64),
            torch.arange(height, dtype=torch.float64),
            torch.arange(width, dtype=torch.float64),
            indexing="ij",
        ),
        dim=-1,
    ).reshape(frames, height * width, 3)
    cos = (positions[..., axis_of_column[0::2]] * frequency).cos()
    sin = (positions[..., axis_of_column[1::2]] * frequency).sin()
    return cos.float(), sin.float()


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate interleaved pairs of `x` `[B, F, S, heads, D]` by the tables `[F, S, D // 2]`, in float32."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).to(x.dtype)
