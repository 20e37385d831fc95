"""The Wan 2.1 VAE: 8x in space, 4x in time, streaming in both directions.

Parameter names are those of `Wan2.1_VAE.pth` (194 tensors), which counts the layers of all stages in one list.
Source: Wan 2.1 `wan/modules/vae.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import Tensor, nn

from ..config import VAEConfig
from .causal import CausalVAE
from .layers import Downsample, LayerFactory, ResidualBlock, Upsample


class Wan21VAE(CausalVAE):
    """The Wan 2.1 VAE; its `config` is a `Wan21VAEConfig`. Frames are clamped to [-1, 1]."""

    pixel_channels = 3

    @staticmethod
    def _down_stages(config: VAEConfig, dims: Sequence[int], make: LayerFactory) -> Iterator[nn.Module]:
        halvings = config.temporal_downsample
        for stage, (in_dim, out_dim) in enumerate(pairwise(dims)):
            for block in range(config.num_res_blocks):
                yield ResidualBlock(in_dim if block == 0 else out_dim, out_dim, make)
            if stage < len(halvings):
                yield Downsample(out_dim, halvings[stage], make)

    @staticmethod
    def _up_stages(config: VAEConfig, dims: Sequence[int], make: LayerFactory) -> Iterator[nn.Module]:
        doublings = config.temporal_downsample[::-1]
        in_dim = dims[0]
        for stage, out_dim in enumerate(dims[1:]):
            for block in range(config.num_res_blocks + 1):
                yield ResidualBlock(in_dim if block == 0 else out_dim, out_dim, make)
            if stage < len(doublings):
                in_dim = out_dim // 2
                yield Upsample(out_dim, in_dim, doublings[stage], make)

    def _from_pixels(self, video: Tensor) -> Tensor:
        return video

    def _to_pixels(self, x: Tensor) -> Tensor:
        return x.clamp_(-1, 1)
