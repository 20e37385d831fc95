"""3-axis rotary position embedding (RoPE) over (frame, row, column). Source: Wan 2.2 / WorldPlay `WanRotaryPosEmbed`.

The head dim D is split t | h | w with h = w = 2 * (D // 6); each part rotates interleaved pairs with theta 10000.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..config import DiTConfig

THETA = 10_000.0


class Rope:
    """The tables of one network, kept per shape and device at one address, since recorded forwards read them there."""

    def __init__(self, config: DiTConfig) -> None:
        self._head_dim = config.head_dim
        self._worldplay = config.cameras
        self._kept: dict[tuple[int, int, int, torch.device], tuple[int, Tensor, Tensor]] = {}

    def tables(self, first: int, frames: int, rows: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Tables as of `rope_table` on `device`; they hold until others of this shape are asked for."""
        key = (frames, rows, columns, device)
        kept = self._kept.get(key)
        if kept is None or kept[0] != first:
            made = rope_table(self._head_dim, first, frames, rows, columns, worldplay=self._worldplay)
            if kept is None:
                kept = (first, made[0].to(device), made[1].to(device))
            for table, new in zip(kept[1:], made, strict=True):
                # Pinned, so that it does not wait for what the device has to do before.
                table.copy_(new.pin_memory() if device.type == "cuda" else new, non_blocking=True)
            self._kept[key] = (first, *kept[1:])
        return kept[1:]


def rope_table(
    head_dim: int, start: int, frames: int, height: int, width: int, *, worldplay: bool = True
) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[frames, height * width, head_dim // 2]`, float32 on the CPU; the first frame is `start`.

    worldplay: as WorldPlay cuts its tables, which differs from Wan for some head sizes; not for 128.
    """
    spatial = 2 * (head_dim // 6)
    parts = (head_dim - 2 * spatial, spatial, spatial)
    frequency = torch.cat([THETA ** -(torch.arange(0, n, 2, dtype=torch.float64) / n) for n in parts if n])

    # WorldPlay cuts its tables at D // 3 but fills them at 2 * (D // 6). They agree where D // 3 is even, as at the
    # shipped D = 128; elsewhere some columns follow the neighbouring axis, here too.
    cut = head_dim // 3 if worldplay else spatial
    axis_of_column = torch.tensor([0] * (head_dim - 2 * cut) + [1] * cut + [2] * cut)
    ranges = ((start, start + frames), (0, height), (0, width))

    def table(function: Callable[[Tensor], Tensor], axis_of_pair: Tensor) -> Tensor:
        columns = []
        for axis, (first, end) in enumerate(ranges):
            angle = torch.arange(first, end, dtype=torch.float64)[:, None] * frequency[axis_of_pair == axis]
            shape = [1, 1, 1, -1]
            shape[axis] = end - first
            columns.append(function(angle).float().view(shape).expand(frames, height, width, -1))
        return torch.cat(columns, dim=-1).flatten(1, 2)

    return table(torch.cos, axis_of_column[0::2]), table(torch.sin, axis_of_column[1::2])


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate interleaved pairs of `x` `[B, F, S, heads, D]` by the tables `[F, S, D // 2]`, in float32."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).to(x.dtype)
