"""The decoder of TAEHV, for Wan 2.2 and Wan 2.1. Source: madebyollin/taehv `taehv.py`.

Parameter names are those of `taew2_2`, `taew2_2_super`, `taew2_1` and LightX2V's `lighttaew2_1`, which count the layers
of one Sequential; the places left out hold layers without weights. The cache is the last frame that each memory block
saw.

The "small" layout is the built-in world's (training/tiny_world/decoder.py): fewer channels, and none of its
convolutions runs after an upsampling but the last.

Frames between the layers are channels_last: on a CPU convolutions then need no reordering.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..config import VAE_TEMPORAL_STRIDE, TinyDecoderConfig
from .layers import LayerFactory
from .statistics import Statistics
from .stream import Past, StreamStep, VAECache, check_latents, decode_whole

MEMORY_BLOCKS = 3
"""Per stage of the released layouts."""

FRAME_GROWTH = (1, 2, 2)
"""Frames that each stage makes of one; every stage doubles height and width."""

Recall = Callable[[Tensor], Tensor]
"""Gives a memory block the frame before each of its input frames `[N, dim, H, W]`."""


class MemoryBlock(nn.Module):
    """Residual block over a frame and the one before it, `[N, dim, H, W]` each."""

    def __init__(self, dim: int, make: LayerFactory) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            make.conv2d(2 * dim, dim, 3, padding=1),
            nn.ReLU(inplace=True),
            make.conv2d(dim, dim, 3, padding=1),
            nn.ReLU(inplace=True),
            make.conv2d(dim, dim, 3, padding=1),
        )

    def forward(self, x: Tensor, recall: Recall) -> Tensor:
        return F.relu(self.conv(torch.cat((x, recall(x)), dim=1)) + x)


class SuperMemoryBlock(nn.Module):
    """Memory block of the "super" layout: a 7x7 depthwise convolution and an inverted bottleneck."""

    def __init__(self, dim: int, make: LayerFactory) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            make.conv2d(2 * dim, 2 * dim, 7, padding=3, groups=2 * dim, bias=False),
            make.conv2d(2 * dim, 4 * dim, 1),
            nn.ReLU(inplace=True),
            make.conv2d(4 * dim, dim, 1, bias=False),
        )

    def forward(self, x: Tensor, recall: Recall) -> Tensor:
        return self.conv(torch.cat((x, recall(x)), dim=1)) + x


class Grow(nn.Module):
    """Make `factor` frames of each: `[N, dim, H, W]` to `[factor * N, dim, H, W]`, in order of time."""

    def __init__(self, dim: int, factor: int, make: LayerFactory) -> None:
        super().__init__()
        self.dim = dim
        self.conv = make.conv2d(dim, factor * dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # A pixel's channels stay together, so that this copies them in one piece.
        return rearrange(self.conv(x), "N (f c) H W -> (N f) H W c", c=self.dim).permute(0, 3, 1, 2)


class BaseLayers(nn.ModuleDict):
    """The base layout: per stage memory blocks, `Grow`, nearest upsampling, convolution."""

    blocks = (MEMORY_BLOCKS,) * 3

    def __init__(self, config: TinyDecoderConfig, make: LayerFactory) -> None:
        super().__init__()
        widths = config.widths
        self["1"] = make.conv2d(config.latent_channels, widths[0], 3, padding=1)
        for stage, (dim, next_dim) in enumerate(pairwise(widths)):
            place = 3 + 6 * stage
            self.update({str(place + i): MemoryBlock(dim, make) for i in range(MEMORY_BLOCKS)})
            self[str(place + 4)] = Grow(dim, FRAME_GROWTH[stage], make)
            self[str(place + 5)] = make.conv2d(dim, next_dim, 3, padding=1, bias=False)
        self["22"] = make.conv2d(widths[-1], 3 * config.patch**2, 3, padding=1)

    def forward(self, x: Tensor, recall: Recall) -> Tensor:
        stem, *layers, head = self.values()
        x = F.relu(stem(torch.tanh(x / 3) * 3))
        for _ in FRAME_GROWTH:
            (*memory_blocks, grow, conv), layers = layers[: MEMORY_BLOCKS + 2], layers[MEMORY_BLOCKS + 2 :]
            for block in memory_blocks:
                x = block(x, recall)
            x = conv(F.interpolate(grow(x), scale_factor=2, mode="nearest"))
        return head(F.relu(x))


class SuperLayers(nn.ModuleDict):
    """The "super" layout: per stage memory blocks, convolution and pixel shuffle, `Grow`."""

    blocks = (MEMORY_BLOCKS,) * 3

    def __init__(self, config: TinyDecoderConfig, make: LayerFactory) -> None:
        super().__init__()
        widths = config.widths
        self["0"] = make.conv2d(config.latent_channels, widths[0], 1, bias=False)
        for stage, (dim, next_dim) in enumerate(pairwise(widths)):
            place = 1 + 7 * stage
            self.update({str(place + i): SuperMemoryBlock(dim, make) for i in range(MEMORY_BLOCKS)})
            self[str(place + 3)] = make.conv2d(dim, 4 * next_dim, 3, padding=1)
            self[str(place + 6)] = Grow(next_dim, FRAME_GROWTH[stage], make)
        self["22"] = make.conv2d(widths[-1], 3 * config.patch**2, 3, padding=1)

    def forward(self, x: Tensor, recall: Recall) -> Tensor:
        stem, *layers, head = self.values()
        x = stem(x)
        for _ in FRAME_GROWTH:
            (*memory_blocks, conv, grow), layers = layers[: MEMORY_BLOCKS + 2], layers[MEMORY_BLOCKS + 2 :]
            for block in memory_blocks:
                x = block(x, recall)
            larger = rearrange(F.relu(conv(x)), "N (c p q) H W -> N (H p) (W q) c", p=2, q=2)
            x = grow(larger.permute(0, 3, 1, 2))
        return head(x)


class SmallMemoryBlock(nn.Module):
    """Memory block of the "small" layout: two convolutions."""

    def __init__(self, dim: int, make: LayerFactory) -> None:
        super().__init__()
        self.conv1 = make.conv2d(2 * dim, dim, 3, padding=1)
        self.conv2 = make.conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor, recall: Recall) -> Tensor:
        change = self.conv2(F.relu(self.conv1(torch.cat((x, recall(x)), dim=1)), inplace=True))
        return F.relu(change.add_(x), inplace=True)


class SmallStage(nn.Module):
    """Memory blocks, then `growth` frames of twice the height and width of each: `[N, dim, H, W]` to `next_dim`."""

    def __init__(self, dim: int, next_dim: int, blocks: int, growth: int, make: LayerFactory) -> None:
        super().__init__()
        self.growth = growth
        self.blocks = nn.ModuleList(SmallMemoryBlock(dim, make) for _ in range(blocks))
        self.grow = make.conv2d(dim, growth * 4 * next_dim, 1)

    def forward(self, x: Tensor, recall: Recall) -> Tensor:
        for block in self.blocks:
            x = block(x, recall)
        grown = F.relu(self.grow(x), inplace=True)
        return rearrange(grown, "N (f p q c) H W -> (N f) (H p) (W q) c", f=self.growth, p=2, q=2).permute(0, 3, 1, 2)


class SmallLayers(nn.Module):
    """The "small" layout: a stem, three `SmallStage`s, a head."""

    def __init__(self, config: TinyDecoderConfig, make: LayerFactory) -> None:
        super().__init__()
        self.blocks = config.blocks
        self.stem = make.conv2d(config.latent_channels, config.widths[0], 3, padding=1)
        self.stages = nn.ModuleList(
            SmallStage(dim, next_dim, blocks, growth, make)
            for (dim, next_dim), blocks, growth in zip(
                pairwise(config.widths), config.blocks, FRAME_GROWTH, strict=True
            )
        )
        self.head = make.conv2d(config.widths[-1], 3 * config.patch**2, 3, padding=1)

    def forward(self, x: Tensor, recall: Recall) -> Tensor:
        x = F.relu(self.stem(torch.tanh(x / 3) * 3))
        for stage in self.stages:
            x = stage(x, recall)
        return self.head(x)


class TinyDecoder(nn.Module):
    """TAEHV decoder for the latents of Wan 2.2 or Wan 2.1, in one of the layouts of `TinyDecoderConfig`.

    Computes in its input's dtype, which must be the weights' unless `operations` (the namespace of Conv2d) casts.
    """

    def __init__(
        self,
        config: TinyDecoderConfig,
        *,
        operations: Any = torch.nn,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        layers: dict[str, type[BaseLayers | SuperLayers | SmallLayers]]
        layers = {"base": BaseLayers, "super": SuperLayers, "small": SmallLayers}
        self.config = config
        self.decoder = layers[config.layout](config, LayerFactory(operations, device, dtype))
        self._statistics = Statistics(config.latents_mean, config.latents_std) if config.latents_mean else None

    @property
    def latent_channels(self) -> int:
        return self.config.latent_channels

    @property
    def spatial_stride(self) -> int:
        """Pixels per latent cell along height and width."""
        return self.config.spatial_stride

    @property
    def reach(self) -> int:
        """See `StreamingDecoder`: each memory block looks one frame back."""
        latents, rate = 0.0, 1
        for blocks, growth in zip(self.decoder.blocks, FRAME_GROWTH, strict=True):
            latents += blocks / rate
            rate *= growth
        return math.ceil(latents)

    def decode_stream(self, latents: Tensor, cache: Past | None = None) -> tuple[Tensor, VAECache]:
        """Decode the next latents of a stream, all in one go.

        latents: `[B, C, n, h, w]`, normalised, n >= 1.
        cache: what the previous call returned; None begins a stream. A list is used up, see `stream.Past`.

        Returns frames `[B, 3, 4n, H, W]` in [-1, 1] (4n - 3 where the stream begins), H and W `spatial_stride` times h
        and w, and the next cache.
        Raises `InputError` for latents of another shape or a cache of another stream.
        """
        frames, cache = self.decode_unbounded(latents, cache)
        return frames.clamp_(-1, 1), cache

    def decode_unbounded(self, latents: Tensor, cache: Past | None = None) -> tuple[Tensor, VAECache]:
        """As `decode_stream`, but what leaves [-1, 1] is not brought back: for training."""
        check_latents(latents, self.config.latent_channels)
        stream = StreamStep(cache)
        batch = latents.shape[0]

        def recall(frames: Tensor) -> Tensor:
            videos = frames.permute(0, 2, 3, 1).unflatten(0, (batch, -1))
            return stream.extend(videos, 1, axis=1)[:, :-1].flatten(0, 1).permute(0, 3, 1, 2)

        if self._statistics is not None:
            latents = self._statistics.denormalise(latents)
        frames = rearrange(latents, "B C n h w -> (B n) C h w").contiguous(memory_format=torch.channels_last)
        pixels = self.decoder(frames, recall)
        pixels = F.pixel_shuffle(pixels, self.config.patch)
        video = rearrange(2 * pixels - 1, "(B f) C H W -> B C f H W", B=batch)
        # The first latent of a video stands for one frame: the last of the four that are made of it.
        return video[:, :, VAE_TEMPORAL_STRIDE - 1 if stream.begins else 0 :], stream.cache()

    def decode(self, latents: Tensor) -> Tensor:
        """Decode a whole sequence, one latent at a time; see `stream.decode_whole`."""
        return decode_whole(self, latents)
