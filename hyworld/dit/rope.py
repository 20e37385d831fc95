"""3-axis rotary position embedding (RoPE) over (frame, row, column). Source: Wan 2.2 / WorldPlay `WanRotaryPosEmbed`.

The head dim D is split t | h | w with h = w = 2 * (D // 6); each part rotates interleaved pairs with theta 10000.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from ..config import DiTConfig

THETA = 10_000.0

_Shape = tuple[int, int, int, torch.device]


class Rope:
    """The tables of one network by shape and device, kept at one address, where recorded forwards read them."""

    def __init__(self, config: DiTConfig) -> None:
        self._head_dim = config.head_dim
        self._worldplay = config.is_worldplay
        self._fixed: dict[_Shape, tuple[Tensor, Tensor]] = {}
        self._moving: dict[_Shape, tuple[int, Tensor, Tensor]] = {}

    def fixed(self, frames: int, rows: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Tables of frames from 0 on."""
        shape = (frames, rows, columns, device)
        if shape not in self._fixed:
            cos, sin = self._made(0, frames, rows, columns)
            self._fixed[shape] = (cos.to(device), sin.to(device))
        return self._fixed[shape]

    def moving(self, first: int, frames: int, rows: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Tables of frames from `first` on, until others of this shape are asked for."""
        # A compiled forward would compile anew for every `first`.
        moved = _not_compiled if torch.compiler.is_compiling() else Rope._moved
        return moved(self, first, (frames, rows, columns, device))

    def _moved(self, first: int, shape: _Shape) -> tuple[Tensor, Tensor]:
        if shape not in self._moving:
            cos, sin = self.fixed(*shape)
            self._moving[shape] = (0, cos.clone(), sin.clone())
        kept, cos, sin = self._moving[shape]
        if kept != first:
            frames, rows, columns, device = shape
            for table, made in zip((cos, sin), self._made(first, frames, rows, columns), strict=True):
                # Pinned, so that it does not wait for what the device has to do before.
                table.copy_(made.pin_memory() if device.type == "cuda" else made, non_blocking=True)
        self._moving[shape] = (first, cos, sin)
        return cos, sin

    def _made(self, first: int, frames: int, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        return rope_table(self._head_dim, first, frames, rows, columns, worldplay=self._worldplay)


# As `torch.compiler.disable`, which would load the compiler here, for two seconds of every start.
_not_compiled = torch._disable_dynamo(Rope._moved)


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
    ends = (head_dim - 2 * cut, head_dim - cut, head_dim)
    positions = (torch.arange(start, start + frames), torch.arange(height), torch.arange(width))

    def table(function: Callable[[Tensor], Tensor], ends: list[int]) -> Tensor:
        columns = []
        for axis, (begin, end) in enumerate(pairwise((0, *ends))):
            angle = positions[axis].double()[:, None] * frequency[begin:end]
            shape = [1, 1, 1, -1]
            shape[axis] = len(positions[axis])
            columns.append(function(angle).float().view(shape).expand(frames, height, width, -1))
        return torch.cat(columns, dim=-1).flatten(1, 2)

    # A pair's cosine is looked up in its even column, its sine in the odd one.
    return table(torch.cos, [(end + 1) // 2 for end in ends]), table(torch.sin, [end // 2 for end in ends])


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate interleaved pairs of `x` `[B, F, S, heads, D]` by the tables `[F, S, D // 2]`, in float32."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).to(x.dtype)
