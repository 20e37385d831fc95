"""A walker whose work several processes share: what every one of them does to its own."""

from __future__ import annotations

import copy

import torch
import torch.distributed as dist
from torch import Tensor

from ..dit import WanDiT
from ..dit.graphs import GraphedNetwork
from ..errors import InputError
from ..vae import CausalVAE, VAECache
from ..vae.stream import Past
from ..walk import Network, Walker
from .shares import counts
from .split import SplitChoice, split_feed_forwards
from .strips import OwnStrip
from .tokens import TokenExchange


def networks(walker: Walker) -> list[Network]:
    """One, or two."""
    return [walker.network] if walker.second is None else [walker.network, walker.second]


def check_heads(heads: int, ranks: int) -> None:
    """Raise `InputError` if so many heads cannot be shared evenly."""
    if heads % ranks:
        fitting = ", ".join(str(n) for n in range(2, heads + 1) if heads % n == 0)
        raise InputError(f"The model has {heads} heads, which {ranks} GPUs cannot share: take {fitting} GPUs.")


def share_networks(walker: Walker, split: SplitChoice = "off") -> None:
    """Let the networks exchange tokens and heads, and split their weights.

    Raises `InputError` as `check_heads` and `split_feed_forwards`.
    """
    ranks, exchange = dist.get_world_size(), TokenExchange()
    models = []
    for network in networks(walker):
        check_heads(network.config.num_heads, ranks)
        model = network.model if isinstance(network, GraphedNetwork) else network
        assert isinstance(model, WanDiT)
        model.kernels = model.kernels._replace(exchange=exchange)
        models.append(model)
    split_feed_forwards(models, split, walker.device)
    walker.share(ranks)


def strip_decoder(walker: Walker) -> CausalVAE | None:
    """The decoder for this process's strip; None for a tiny one, which the leader runs alone: that is faster."""
    decoding = walker.decoding
    return for_strip(decoding.decoder) if decoding is not None and isinstance(decoding.decoder, CausalVAE) else None


def for_strip(vae: CausalVAE) -> CausalVAE:
    """`vae`, with its weights, for this process's strip."""
    own = copy.copy(vae)
    own.kernels = vae.kernels._replace(strip=OwnStrip(vae.kernels))
    return own


@torch.no_grad()
def decode_strip(vae: CausalVAE, latents: Tensor, past: Past | None) -> tuple[Tensor, VAECache]:
    """Frames of this process's rows."""
    frames, cache = vae.decode_stream(latents, past)
    return frames.contiguous(), cache


def gathered(frames: Tensor, rows: int, stride: int) -> Tensor:
    """In the leader, the frames of all strips of `rows` latent rows; elsewhere one's own."""
    ranks, leads = dist.get_world_size(), dist.get_rank() == 0
    B, C, T, _, W = frames.shape
    heights = [count * stride for count in counts(rows, ranks)]
    sizes = [B * C * T * height * W if leads else 0 for height in heights]
    received = frames.new_empty(sum(sizes))
    dist.all_to_all_single(received, frames.view(-1), sizes, [frames.numel()] + [0] * (ranks - 1))
    if not leads:
        return frames
    strips = [piece.view(B, C, T, height, W) for piece, height in zip(received.split(sizes), heights, strict=True)]
    return torch.cat(strips, dim=3)
