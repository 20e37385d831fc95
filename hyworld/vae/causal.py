"""What the Wan VAEs share: encoder and decoder around stages of their own, streaming in both directions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..config import VAE_TEMPORAL_STRIDE, VAEConfig
from ..errors import InputError
from ..fingerprint import Fingerprint
from .kernels import PLAIN
from .layers import HISTORY, Head, LayerFactory, Middle, causal
from .statistics import Statistics
from .stream import Past, StreamStep, VAECache, check_latents, decode_whole


class Encoder(nn.Module):
    """Pictures `[B, channels, 1+4k, H, W]` (4k frames once the stream runs) to 2*z_dim channels, 1+k (k) frames."""

    def __init__(
        self, channels: int, dims: Sequence[int], stages: Iterable[nn.Module], z_dim: int, make: LayerFactory
    ) -> None:
        super().__init__()
        self.conv1 = make.causal_conv3d(channels, dims[0])
        self.downsamples = nn.ModuleList(stages)
        self.middle = Middle(dims[-1], make)
        self.head = Head(dims[-1], 2 * z_dim, make)

    def forward(self, x: Tensor, stream: StreamStep) -> Tensor:
        x = causal(self.conv1, x, stream)
        for stage in self.downsamples:
            x = stage(x, stream)
        return self.head(self.middle(x, stream), stream)


class Decoder(nn.Module):
    """Latents `[B, z_dim, n, h, w]` to pictures `[B, channels, 4n, 8h, 8w]`; 3 frames less where a stream begins."""

    def __init__(
        self, z_dim: int, dims: Sequence[int], stages: Iterable[nn.Module], channels: int, make: LayerFactory
    ) -> None:
        super().__init__()
        self.conv1 = make.causal_conv3d(z_dim, dims[0])
        self.middle = Middle(dims[0], make)
        self.upsamples = nn.ModuleList(stages)
        self.head = Head(dims[-1], channels, make)

    def forward(self, x: Tensor, stream: StreamStep) -> Tensor:
        x = self.middle(causal(self.conv1, x, stream), stream)
        strip = stream.kernels.strip
        if strip is not None:
            x, stream.kernels = strip.own(x), strip.kernels
        for stage in self.upsamples:
            x = stage(x, stream)
        return self.head(x, stream)


class CausalVAE(nn.Module):
    """Encoder and decoder of a Wan VAE, for whole videos or streams: `Wan21VAE`, `Wan22VAE`.

    Both compute in their input's dtype, which must be the weights' unless `operations` (the namespace of Conv2d and
    Conv3d) casts; latent statistics are applied in at least float32. `kernels` are the decoder's functions between its
    convolutions, see `modes.set_vae_kernels`.
    """

    pixel_channels: ClassVar[int]
    """Channels of `_from_pixels`."""

    def __init__(
        self, config: VAEConfig, *, operations: Any = torch.nn, device: Any = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        make = LayerFactory(operations, device, dtype)
        down = [config.encoder_dim * factor for factor in (1, *config.dim_mult)]
        up = [config.decoder_dim * factor for factor in (config.dim_mult[-1], *reversed(config.dim_mult))]
        self.config = config
        self.fingerprint: Fingerprint = ()
        self.encoder = Encoder(self.pixel_channels, down, self._down_stages(config, down, make), config.z_dim, make)
        self.conv1 = make.conv3d(2 * config.z_dim, 2 * config.z_dim, 1)
        self.conv2 = make.conv3d(config.z_dim, config.z_dim, 1)
        self.decoder = Decoder(config.z_dim, up, self._up_stages(config, up, make), self.pixel_channels, make)
        self.kernels = PLAIN
        self.statistics = Statistics(config.latents_mean, config.latents_std)

    @staticmethod
    def _down_stages(config: VAEConfig, dims: Sequence[int], make: LayerFactory) -> Iterator[nn.Module]:
        """The encoder's `downsamples`; `dims` are the widths before, between and after its stages."""
        raise NotImplementedError

    @staticmethod
    def _up_stages(config: VAEConfig, dims: Sequence[int], make: LayerFactory) -> Iterator[nn.Module]:
        """The decoder's `upsamples`, likewise."""
        raise NotImplementedError

    def _from_pixels(self, video: Tensor) -> Tensor:
        """What the encoder reads of a video."""
        raise NotImplementedError

    def _to_pixels(self, x: Tensor) -> Tensor:
        """The video of what the decoder wrote."""
        raise NotImplementedError

    @property
    def latent_channels(self) -> int:
        return self.config.z_dim

    @property
    def spatial_stride(self) -> int:
        """Pixels per latent cell along height and width."""
        return self.config.spatial_stride

    @property
    def reach(self) -> int:
        """40 for the released sizes: each causal convolution looks `HISTORY` frames back. See `StreamingDecoder`."""
        convolutions, rate = 2 * (self.config.num_res_blocks + 1), 1
        latents = HISTORY * 5.0  # conv1 and the middle
        doublings = (*reversed(self.config.temporal_downsample), False)
        for doubles in doublings:
            latents += HISTORY * (convolutions + doubles) / rate
            rate *= 1 + doubles
        latents += HISTORY / rate  # the head
        # What a doubling looks back to may begin in the middle of a pair.
        return math.ceil(latents) + sum(doublings)

    def decode_stream(self, latents: Tensor, cache: Past | None = None) -> tuple[Tensor, VAECache]:
        """Decode the next latents of a stream, all in one go.

        latents: `[B, z_dim, n, h, w]`, normalised, n >= 1.
        cache: what the previous call returned; None begins a stream. A list is used up, see `stream.Past`.

        Returns frames `[B, 3, 4n, H, W]` in about [-1, 1] (4n - 3 where the stream begins), H and W `spatial_stride`
        times h and w, and the next cache.
        Raises `InputError` for latents of another shape or a cache of another stream.
        """
        check_latents(latents, self.config.z_dim)
        stream = StreamStep(cache, self.kernels)
        x = self.conv2(self.statistics.denormalise(latents))
        # Convolutions and norms are fastest in channels_last.
        x = x.contiguous(memory_format=torch.channels_last_3d)
        return self._to_pixels(self.decoder(x, stream)), stream.cache()

    def encode_stream(self, video: Tensor, cache: VAECache | None = None) -> tuple[Tensor, VAECache]:
        """Encode the next frames of a stream, all in one go.

        video: `[B, 3, f, H, W]` in [-1, 1]; f = 1 + 4k where the stream begins, 4k later; H, W multiples of
            `spatial_stride`.
        cache: what the previous call returned; None begins a stream.

        Returns latents `[B, z_dim, n, h, w]` with n = k + 1 or k (the normalised mean, at least float32), and the
        next cache.
        Raises `InputError` for a video of another shape or a cache of another stream.
        """
        self._check_video(video, begins=cache is None)
        stream = StreamStep(cache)
        x = self.conv1(self.encoder(self._from_pixels(video), stream))
        return self.statistics.normalise(x[:, : self.config.z_dim]), stream.cache()

    def decode(self, latents: Tensor) -> Tensor:
        """Decode a whole sequence, one latent at a time; see `stream.decode_whole`."""
        return decode_whole(self, latents)

    def forget_decoder(self) -> None:
        """Free the decoder's weights, most of the VAE's, where another decoder makes the frames."""
        del self.decoder, self.conv2

    def forget_encoder(self) -> None:
        """Likewise the encoder's."""
        del self.encoder, self.conv1

    def encode(self, video: Tensor) -> Tensor:
        """Encode a whole video, one latent at a time so that memory stays flat; see `encode_stream`."""
        self._check_video(video, begins=True)
        cache: VAECache | None = None
        latents = []
        for start, stop in pairwise((0, *range(1, video.shape[2] + 1, VAE_TEMPORAL_STRIDE))):
            encoded, cache = self.encode_stream(video[:, :, start:stop], cache)
            latents.append(encoded)
        return torch.cat(latents, dim=2)

    def _check_video(self, video: Tensor, *, begins: bool) -> None:
        stride = self.spatial_stride
        if video.ndim != 5 or video.shape[1] != 3 or video.shape[3] % stride or video.shape[4] % stride:
            raise InputError(
                f"The video must have the shape [batch, 3, frames, height, width] with sides that are multiples of "
                f"{stride}, got {list(video.shape)}: crop or scale it first."
            )
        frames = video.shape[2]
        if begins and frames % VAE_TEMPORAL_STRIDE != 1:
            raise InputError(
                f"A video begins with 1, 5, 9, ... frames (one, then four per latent), got {frames}: trim it."
            )
        if not begins and (frames == 0 or frames % VAE_TEMPORAL_STRIDE):
            raise InputError(
                f"A stream goes on with 4, 8, 12, ... frames (four per latent), got {frames}: collect more."
            )
