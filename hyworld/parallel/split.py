"""Feed-forwards' weights, half of a network's, split over the processes: each fetches a block's while another runs.

FSDP does so too, but gives parameters new addresses, which neither CUDA graphs nor the fused feed-forward can follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..dit import WanDiT
from ..errors import InputError
from ..fp8 import Rounded
from .parts import Arrived, Parts, Read, Sent, Spots, UnreadableError

SplitChoice = Literal["auto", "read", "send", "off"]
"""How a process gets the weights that others hold; "auto": read where they can be, else each holds all."""

ALIGNED = 256
"""Bytes; matrix products want weights to begin at a multiple of 16."""


class _Piece(NamedTuple):
    number: int
    spots: Spots


class SplitFeedForward:
    """`Kernels.feed_forward` of networks whose weights are split.

    The weights of all blocks but the first and the last, which every process holds whole, lie in two buffers in turn,
    for good: one is filled while the feed-forward before reads the other. No forward begins or ends with a fetch under
    way, since those two are whole: so each can be recorded by itself, also a prefill, which leaves the last out.
    """

    def __init__(self, networks: Sequence[WanDiT], kind: type[Read | Sent], device: torch.device) -> None:
        self._base = networks[0].kernels.feed_forward
        rows: list[list[Any]] = [[block.ffn for block in network.blocks] for network in networks]
        self._following = {ffn: after for row in rows for ffn, after in pairwise(row[:-1])}
        self._coming: dict[Any, Arrived] = {}
        split = [(ffn, turn % 2) for row in rows for turn, ffn in enumerate(row[1:-1])]
        ranks = dist.get_world_size()
        width = max(_bytes(weight).numel() for ffn, _ in split for weight in _weights(ffn))
        width = -(-width // (ranks * ALIGNED)) * ranks * ALIGNED
        self.parts: Parts = kind(len(split), 2 * width // ranks, device)
        own = self.parts.own
        # Of two processes each has one of the two weights: that need not be copied.
        buffers = [torch.empty(1 if ranks == 2 else 2, width, dtype=torch.uint8, device=device) for _ in range(2)]
        self._pieces: dict[Any, _Piece] = {}
        for number, (ffn, turn) in enumerate(split):
            buffer = buffers[turn]
            if ranks == 2:
                spots: list[Tensor | None] = [buffer[0], buffer[0]]
                lie = [buffer[0], buffer[0]]
                spots[dist.get_rank()], lie[dist.get_rank()] = None, own[number]
            else:
                spots, lie = list(buffer.view(ranks, -1)), list(buffer)
            _move(ffn, own[number], lie)
            self._pieces[ffn] = _Piece(number, spots)
        self.parts.filled()

    def __call__(self, ffn: nn.Sequential, x_BFSE: Tensor | Rounded) -> Tensor:
        if (arrived := self._coming.pop(ffn, None)) is not None:
            arrived()
        after = self._following.get(ffn)
        if after is not None:
            piece = self._pieces[after]
            self._coming[after] = self.parts.fetch(piece.number, piece.spots)
        return self._base(ffn, x_BFSE)


def split_feed_forwards(networks: Sequence[WanDiT], how: SplitChoice, device: torch.device) -> None:
    """Split the weights of the networks' feed-forwards over all processes, which must all call this.

    Raises `InputError` for an unknown choice, and `UnreadableError` for "read" where that cannot be.
    """
    if how not in get_args(SplitChoice):
        raise InputError(f"--split-weights must be one of {', '.join(get_args(SplitChoice))}, got {how!r}.")
    if how == "off" or min(len(network.blocks) for network in networks) <= 2:
        return
    try:
        split = SplitFeedForward(networks, Sent if how == "send" else Read, device)
    except UnreadableError:
        if how == "auto":
            return
        raise
    for network in networks:
        network.kernels = network.kernels._replace(feed_forward=split)
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _weights(ffn: nn.Sequential) -> list[Tensor]:
    up, _, down = ffn
    return [up.weight, down.weight]  # type: ignore[list-item]


def _bytes(weight: Tensor) -> Tensor:
    return weight.detach().contiguous().view(-1).view(torch.uint8)


def _move(ffn: nn.Sequential, own: Tensor, lie: Sequence[Tensor]) -> None:
    """Keep this process's part of the weights of `ffn` in `own`; the weights are, for good, what comes to `lie`."""
    whole = own.new_zeros(2, lie[0].numel())
    for row, weight in zip(whole, _weights(ffn), strict=True):
        row[: weight.nbytes] = _bytes(weight)
    own.copy_(whole.view(dist.get_world_size(), -1)[dist.get_rank()])
    for place, weight in zip(lie, _weights(ffn), strict=True):
        weight.data = place[: weight.nbytes].view(weight.dtype).view(weight.shape)
