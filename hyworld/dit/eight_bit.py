"""Keys and values kept as 8-bit integers, of which both branches are made in fp8: plain PyTorch.

A token's vector of a head has a scale: largest number / 127. So what is kept is four times as exact as fp8 (0.6 % of
normal numbers), and attention gets what it would get of the projected numbers, up to that. The reference for the Triton
kernels of `fused_eight_bit`. Shape suffixes as in `kernels`.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

LARGEST = 127


class Kept(NamedTuple):
    """Normed keys `[B, H, N, D]` and values `[B, H, D, N]` as int8, and their scales, float16 `[2, B, H, N]`."""

    k: Tensor
    v: Tensor
    scales: Tensor

    def tokens(self, end: int) -> Kept:
        """Those of the tokens up to `end`."""
        return Kept(self.k[:, :, :end], self.v[..., :end], self.scales[..., :end])


def keep(k_BFSE: Tensor, v_BFSE: Tensor, norm: nn.Module | None, kept: Kept) -> None:
    """Round projected k (normed first) and v into `kept`."""
    heads = kept.k.shape[1]
    for x, into, scale in (
        (k_BFSE if norm is None else norm(k_BFSE), kept.k, kept.scales[0]),
        (v_BFSE, kept.v.transpose(-1, -2), kept.scales[1]),
    ):
        vectors = x.float().unflatten(-1, (heads, -1)).flatten(1, 2).transpose(1, 2)
        scale.copy_(vectors.abs().amax(dim=-1) / LARGEST)
        divisor = scale.float().clamp(min=1e-30).unsqueeze(-1)
        into.copy_((vectors / divisor).round_().clamp_(-LARGEST, LARGEST))


def projected(kept: Kept, frames: int) -> tuple[Tensor, Tensor]:
    """What was rounded, `[B, F, S, E]` each in float32: normed keys, and values."""
    k, v = (
        (x.float() * scale.float().unsqueeze(-1)).transpose(1, 2).flatten(-2).unflatten(1, (frames, -1))
        for x, scale in ((kept.k, kept.scales[0]), (kept.v.transpose(-1, -2), kept.scales[1]))
    )
    return k, v
