"""The Wan 2.2 VAE: 16x in space, 4x in time, streaming in both directions.

Parameter names are those of `Wan2.2_VAE.pth` (196 tensors). Source: Wan 2.2 `wan/modules/vae2_2.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..config import VAEConfig
from ..errors import InputError
from .causal import CausalVAE
from .layers import Downsample, LayerFactory, ResidualBlock, Upsample
from .stream import StreamStep


def patchify(video: Tensor) -> Tensor:
    """Turn 2x2 pixels into channels: `[B, 3, T, 2H, 2W]` to `[B, 12, T, H, W]`, order (colour, column, row)."""
    return rearrange(video, "B C T (H row) (W column) -> B (C column row) T H W", row=2, column=2)


def unpatchify(x: Tensor) -> Tensor:
    """Inverse of `patchify`."""
    return rearrange(x, "B (C column row) T H W -> B C T (H row) (W column)", row=2, column=2)


class DownStage(nn.Module):
    """Residual blocks and, but for the last stage, a `Downsample`; plus an averaging shortcut without weights."""

    def __init__(
        self, in_dim: int, out_dim: int, blocks: int, make: LayerFactory, *, in_space: bool, in_time: bool
    ) -> None:
        super().__init__()
        self.out_dim, self.space, self.time = out_dim, 2 if in_space else 1, 2 if in_time else 1
        if in_dim * self.time * self.space**2 % out_dim:
            raise InputError(
                f"VAEConfig.dim_mult does not fit: {in_dim} channels cannot be averaged into {out_dim}; "
                "take factors that double from stage to stage."
            )
        layers: list[nn.Module] = [ResidualBlock(in_dim if i == 0 else out_dim, out_dim, make) for i in range(blocks)]
        if in_space:
            layers.append(Downsample(out_dim, in_time, make))
        self.downsamples = nn.ModuleList(layers)

    def forward(self, x: Tensor, stream: StreamStep) -> Tensor:
        shortcut = self._average(x)
        for layer in self.downsamples:
            x = layer(x, stream)
        return x + shortcut

    def _average(self, x: Tensor) -> Tensor:
        """Average pooling with the pixels of each cell as channels, so that channels are averaged too."""
        x = F.pad(x, (0, 0, 0, 0, -x.shape[2] % self.time, 0))
        cells = {"t": self.time, "a": self.space, "b": self.space}
        channels = rearrange(x, "B C (T t) (H a) (W b) -> B (C t a b) T H W", **cells)
        return channels.unflatten(1, (self.out_dim, -1)).mean(dim=2)


class UpStage(nn.Module):
    """Residual blocks and, but for the last stage, an `Upsample`."""

    def __init__(
        self, in_dim: int, out_dim: int, blocks: int, make: LayerFactory, *, in_space: bool, in_time: bool
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [ResidualBlock(in_dim if i == 0 else out_dim, out_dim, make) for i in range(blocks)]
        if in_space:
            spread = _spread(in_dim, out_dim, 2 if in_time else 1)
            layers.append(Upsample(out_dim, out_dim, in_time, make, spread))
        self.upsamples = nn.ModuleList(layers)

    def forward(self, x: Tensor, stream: StreamStep) -> Tensor:
        source = x
        for layer in self.upsamples:
            x = layer(x, stream, source) if isinstance(layer, Upsample) else layer(x, stream)
        return x


def _spread(in_dim: int, out_dim: int, time: int) -> tuple[int, int, int]:
    """How the `in_dim / out_dim` source channels per output channel spread over a cell's (frames, rows, columns)."""
    for spread in ((1, 1, 1), (time, 1, 1), (time, 2, 1), (time, 2, 2)):
        if in_dim == out_dim * math.prod(spread):
            return spread
    raise InputError(
        f"VAEConfig.dim_mult does not fit: {in_dim} channels cannot be spread over {out_dim}; "
        "take factors that double from stage to stage."
    )


class Wan22VAE(CausalVAE):
    """The Wan 2.2 VAE, which encodes patches of 2x2 pixels and has shortcuts around its stages."""

    pixel_channels = 12

    @staticmethod
    def _down_stages(config: VAEConfig, dims: Sequence[int], make: LayerFactory) -> Iterator[nn.Module]:
        halvings = config.temporal_downsample
        for stage, (in_dim, out_dim) in enumerate(pairwise(dims)):
            change = {"in_space": stage < len(halvings), "in_time": stage < len(halvings) and halvings[stage]}
            yield DownStage(in_dim, out_dim, config.num_res_blocks, make, **change)

    @staticmethod
    def _up_stages(config: VAEConfig, dims: Sequence[int], make: LayerFactory) -> Iterator[nn.Module]:
        doublings = config.temporal_downsample[::-1]
        for stage, (in_dim, out_dim) in enumerate(pairwise(dims)):
            change = {"in_space": stage < len(doublings), "in_time": stage < len(doublings) and doublings[stage]}
            yield UpStage(in_dim, out_dim, config.num_res_blocks + 1, make, **change)

    def _from_pixels(self, video: Tensor) -> Tensor:
        return patchify(video)

    def _to_pixels(self, x: Tensor) -> Tensor:
        return unpatchify(x)
