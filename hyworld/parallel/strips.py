"""Decoding by strips: each process decodes some rows, and gets the rows beside them where a layer needs them.

Layers up to the middle run whole in every process: they are 2 % of the work, and the middle's attention sees all rows.
After them every convolution that is 3 high is given one row of each neighbour, zeros at the picture's edge.
Tensors are `[B, C, T, H, W]`.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..copying import copy_into
from ..vae.kernels import Cells, Kernels
from .shares import span


class OwnStrip:
    """`vae.kernels.Strip` of this process, of the default process group; `base` is what a whole picture is run with."""

    def __init__(self, base: Kernels) -> None:
        self.kernels = base._replace(
            norm_silu_extend=self._norm_silu_extend, convolve=self._convolve, double=self._double, strip=None
        )
        self._base = base
        self._ranks = dist.get_world_size()
        self._rank = dist.get_rank()
        self._unpadded: dict[Any, Any] = {}
        self._within: tuple[Tensor, Tensor] | None = None  # a tensor that was made within its frame, and that

    def own(self, x: Tensor) -> Tensor:
        return _laid_out(x[..., span(x.shape[3], self._ranks, self._rank), :], x)

    def _norm_silu_extend(
        self, x: Tensor, gain: Tensor, past: Tensor, bias: Tensor | None = None, *, factor: float | None = None
    ) -> Tensor:
        framed = self._base.norm_silu_extend(x, gain, past, bias, frame=1, factor=factor)
        self._within = (framed[..., 1:-1, :], framed)
        return self._within[0]

    def _convolve(self, conv: Any, x: Tensor) -> tuple[Tensor, Tensor | None]:
        if conv.kernel_size[1] == 1:
            return self._base.convolve(conv, x)
        if conv not in self._unpadded:
            self._unpadded[conv] = copy.copy(conv)  # which shares its weights
            self._unpadded[conv].padding = (0, 0, conv.padding[2])
        return self._base.convolve(self._unpadded[conv], self._bordered(x))

    def _double(self, conv: Any, x: Tensor, cells: Cells | None) -> Tensor:
        if cells is not None:
            cells = cells._replace(source=_framed(cells.source))
        return _laid_out(self._base.double(conv, self._bordered(x), cells)[..., 2:-2, :], x)

    def _bordered(self, x: Tensor) -> Tensor:
        """`x` between the last row of the strip above and the first of the one below."""
        if self._within is not None and self._within[0] is x:
            framed, self._within = self._within[1], None
        else:
            framed = _framed(x)
        if self._rank == 0:
            framed[..., 0, :] = 0
        if self._rank == self._ranks - 1:
            framed[..., -1, :] = 0
        beside = [rank for rank in (self._rank - 1, self._rank + 1) if 0 <= rank < self._ranks]
        places = [0 if rank < self._rank else -1 for rank in beside]
        rows = [x[..., place, :].movedim(1, -1) for place in places]
        send = x.new_empty(len(rows), *rows[0].shape)
        for there, row in zip(send, rows, strict=True):
            copy_into(there, row)
        received = torch.empty_like(send)
        sizes = [send[0].nbytes if rank in beside else 0 for rank in range(self._ranks)]
        # As bytes: what sends them may know no fp8.
        there, here = (rows.view(torch.uint8).view(-1) for rows in (received, send))
        dist.all_to_all_single(there, here, sizes, sizes)
        for place, row in zip(places, received, strict=True):
            copy_into(framed[..., place, :], row.movedim(-1, 1))
        return framed


def _framed(x: Tensor) -> Tensor:
    """`x` with a row free above and below."""
    B, C, T, H, W = x.shape
    framed = x.new_empty((B, T, H + 2, W, C)).movedim(-1, 1) if _channels_last(x) else x.new_empty((B, C, T, H + 2, W))
    copy_into(framed[..., 1:-1, :], x)
    return framed


def _laid_out(x: Tensor, like: Tensor) -> Tensor:
    there = torch.empty_like(
        x, memory_format=torch.channels_last_3d if _channels_last(like) else torch.contiguous_format
    )
    copy_into(there, x)
    return there


def _channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last_3d)
