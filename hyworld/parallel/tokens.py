"""Sequence parallel: `dit.exchange.Exchange` over torch.distributed.

Shape suffixes: B batch, F frames, S tokens per frame, E = heads * head dim.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from ..copying import copy_into
from ..dit.exchange import Arriving
from ..errors import InputError
from .shares import counts, span


class TokenExchange:
    """Of the default process group; frames keep their place, each has its tokens split."""

    def __init__(self) -> None:
        self.ranks = dist.get_world_size()
        self._rank = dist.get_rank()

    def own_tokens(self, x_BFSE: Tensor) -> Tensor:
        tokens = x_BFSE.shape[2]
        if tokens < self.ranks:
            raise InputError(
                f"A latent of {tokens} tokens cannot be shared by {self.ranks} GPUs: take a larger size or fewer GPUs."
            )
        return x_BFSE[:, :, span(tokens, self.ranks, self._rank)].contiguous()

    def to_heads(self, tokens: int, *xs: Tensor) -> Arriving:
        n, k = self.ranks, len(xs)
        B, F, own, E = xs[0].shape
        part = E // n
        send = xs[0].new_empty(n, k, B, F, own, part)
        for i, x in enumerate(xs):
            copy_into(send[:, i], x.unflatten(-1, (n, part)).movedim(3, 0))
        shares = counts(tokens, n)
        sizes = [k * B * F * count * part for count in shares]
        received = send.new_empty(sum(sizes))
        sent = dist.all_to_all_single(received, send.view(-1), sizes, [send[0].numel()] * n, async_op=True)

        def arrived() -> tuple[Tensor, ...]:
            sent.wait()
            pieces = [
                piece.view(k, B, F, count, part) for piece, count in zip(received.split(sizes), shares, strict=True)
            ]
            return tuple(torch.cat([piece[i] for piece in pieces], dim=2) for i in range(k))

        return arrived

    def to_tokens(self, tokens: int, x: Tensor) -> Arriving:
        n = self.ranks
        B, F, _, part = x.shape
        shares = counts(tokens, n)
        sizes = [B * F * count * part for count in shares]
        send = x.new_empty(sum(sizes))
        for rank, piece in enumerate(send.split(sizes)):
            copy_into(piece.view(B, F, shares[rank], part), x[:, :, span(tokens, n, rank)])
        received = send.new_empty(n, B, F, shares[self._rank], part)
        sent = dist.all_to_all_single(received.view(-1), send, [received[0].numel()] * n, sizes, async_op=True)

        def arrived() -> tuple[Tensor, ...]:
            sent.wait()
            return (torch.cat(received.unbind(), dim=-1),)

        return arrived

    def all_tokens(self, tokens: int, x_BFSE: Tensor) -> Tensor:
        shares = counts(tokens, self.ranks)
        B, F, own, C = x_BFSE.shape
        padded = x_BFSE.new_zeros(B, F, shares[0], C)
        padded[:, :, :own].copy_(x_BFSE)
        gathered = padded.new_empty(self.ranks, *padded.shape)
        dist.all_gather(list(gathered.unbind()), padded)
        return torch.cat([part[:, :, :count] for part, count in zip(gathered, shares, strict=True)], dim=2)
