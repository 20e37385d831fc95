"""The Wan 2.2 VAE: 16x in space, 4x in time, streaming in both directions.

Parameter names are those of `Wan2.2_VAE.pth` (196 tensors). Source: Wan 2.2 `wan/modules/vae2_2.py`.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ..config import VAE_SPATIAL_STRIDE, VAE_TEMPORAL_STRIDE, VAEConfig
from ..errors import InputError
from ..fingerprint import Fingerprint
from .kernels import PLAIN
from .layers import HISTORY, DownStage, Head, LayerFactory, Middle, UpStage, causal
from .stream import Past, StreamStep, VAECache, check_latents, decode_whole

PIXEL_CHANNELS = 12
"""Channels of a patchified picture: colours x 2 x 2 pixels."""


def patchify(video: Tensor) -> Tensor:
    """Turn 2x2 pixels into channels: `[B, 3, T, 2H, 2W]` to `[B, 12, T, H, W]`, order (colour, column, row)."""
    return rearrange(video, "B C T (H row) (W column) -> B (C column row) T H W", row=2, column=2)


def unpatchify(x: Tensor) -> Tensor:
    """Inverse of `patchify`."""
    return rearrange(x, "B (C column row) T H W -> B C T (H row) (W column)", row=2, column=2)


class Encoder(nn.Module):
    """Patchified video `[B, 12, 1+4k, H, W]` (4k frames once the stream runs) to 2*z_dim channels, 1+k (k) frames."""

    def __init__(self, config: VAEConfig, make: LayerFactory) -> None:
        super().__init__()
        dims = [config.encoder_dim * factor for factor in (1, *config.dim_mult)]
        last = len(config.dim_mult) - 1
        self.conv1 = make.causal_conv3d(PIXEL_CHANNELS, dims[0])
        self.downsamples = nn.ModuleList(
            DownStage(
                in_dim,
                out_dim,
                config.num_res_blocks,
                make,
                in_space=stage < last,
                in_time=stage < last and config.temporal_downsample[stage],
            )
            for stage, (in_dim, out_dim) in enumerate(pairwise(dims))
        )
        self.middle = Middle(dims[-1], make)
        self.head = Head(dims[-1], 2 * config.z_dim, make)

    def forward(self, x: Tensor, stream: StreamStep) -> Tensor:
        x = causal(self.conv1, x, stream)
        for stage in self.downsamples:
            x = stage(x, stream)
        return self.head(self.middle(x, stream), stream)


class Decoder(nn.Module):
    """Latents `[B, z_dim, n, h, w]` to patchified video `[B, 12, 4n, 8h, 8w]`; 3 frames less where a stream begins."""

    def __init__(self, config: VAEConfig, make: LayerFactory) -> None:
        super().__init__()
        dims = [config.decoder_dim * factor for factor in (config.dim_mult[-1], *reversed(config.dim_mult))]
        last = len(config.dim_mult) - 1
        self.conv1 = make.causal_conv3d(config.z_dim, dims[0])
        self.middle = Middle(dims[0], make)
        self.upsamples = nn.ModuleList(
            UpStage(
                in_dim,
                out_dim,
                config.num_res_blocks + 1,
                make,
                in_space=stage < last,
                in_time=stage < last and config.temporal_downsample[last - 1 - stage],
            )
            for stage, (in_dim, out_dim) in enumerate(pairwise(dims))
        )
        self.head = Head(dims[-1], PIXEL_CHANNELS, make)

    def forward(self, x: Tensor, stream: StreamStep) -> Tensor:
        x = self.middle(causal(self.conv1, x, stream), stream)
        for stage in self.upsamples:
            x = stage(x, stream)
        return self.head(x, stream)


class Wan22VAE(nn.Module):
    """Encoder and decoder of the Wan 2.2 VAE, for whole videos or streams.

    Both compute in their input's dtype, which must be the weights' unless `operations` (the namespace of Conv2d and
    Conv3d) casts; latent statistics are applied in at least float32. `kernels` are the decoder's functions between its
    convolutions, see `modes.set_vae_kernels`.
    """

    def __init__(
        self, config: VAEConfig, *, operations: Any = torch.nn, device: Any = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        make = LayerFactory(operations, device, dtype)
        self.config = config
        self.fingerprint: Fingerprint = ()
        self.encoder = Encoder(config, make)
        self.conv1 = make.conv3d(2 * config.z_dim, 2 * config.z_dim, 1)
        self.conv2 = make.conv3d(config.z_dim, config.z_dim, 1)
        self.decoder = Decoder(config, make)
        self.kernels = PLAIN
        self._statistics_on: dict[torch.device, Tensor] = {}

    @property
    def latent_channels(self) -> int:
        return self.config.z_dim

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

        Returns frames `[B, 3, 4n, 16h, 16w]` in about [-1, 1] (4n - 3 where the stream begins) and the next cache.
        Raises `InputError` for latents of another shape or a cache of another stream.
        """
        check_latents(latents, self.config.z_dim)
        mean, std = self._statistics(latents.device)
        stream = StreamStep(cache, self.kernels)
        x = self.conv2((latents * std + mean).to(latents.dtype))
        # Convolutions and norms are fastest in channels_last.
        x = x.contiguous(memory_format=torch.channels_last_3d)
        return unpatchify(self.decoder(x, stream)), stream.cache()

    def encode_stream(self, video: Tensor, cache: VAECache | None = None) -> tuple[Tensor, VAECache]:
        """Encode the next frames of a stream, all in one go.

        video: `[B, 3, f, H, W]` in [-1, 1]; f = 1 + 4k where the stream begins, 4k later; H, W multiples of 16.
        cache: what the previous call returned; None begins a stream.

        Returns latents `[B, z_dim, n, H/16, W/16]` with n = k + 1 or k (the normalised mean, at least float32), and the
        next cache.
        Raises `InputError` for a video of another shape or a cache of another stream.
        """
        _check_video(video, begins=cache is None)
        mean, std = self._statistics(video.device)
        stream = StreamStep(cache)
        x = self.conv1(self.encoder(patchify(video), stream))
        return (x[:, : self.config.z_dim] - mean) / std, stream.cache()

    def decode(self, latents: Tensor) -> Tensor:
        """Decode a whole sequence, one latent at a time; see `stream.decode_whole`."""
        return decode_whole(self, latents)

    def encode(self, video: Tensor) -> Tensor:
        """Encode a whole video, one latent at a time so that memory stays flat; see `encode_stream`."""
        _check_video(video, begins=True)
        cache: VAECache | None = None
        latents = []
        for start, stop in pairwise((0, *range(1, video.shape[2] + 1, VAE_TEMPORAL_STRIDE))):
            encoded, cache = self.encode_stream(video[:, :, start:stop], cache)
            latents.append(encoded)
        return torch.cat(latents, dim=2)

    def _statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation per latent channel, `[z_dim, 1, 1, 1]`."""
        # Not buffers: those would be missing from checkpoints and stay on the meta device after an assigning load.
        if device not in self._statistics_on:
            statistics = torch.tensor((self.config.latents_mean, self.config.latents_std), dtype=torch.float32)
            self._statistics_on[device] = statistics[..., None, None, None].to(device)
        mean, std = self._statistics_on[device]
        return mean, std


def _check_video(video: Tensor, *, begins: bool) -> None:
    if (
        video.ndim != 5
        or video.shape[1] != 3
        or video.shape[3] % VAE_SPATIAL_STRIDE
        or video.shape[4] % VAE_SPATIAL_STRIDE
    ):
        raise InputError(
            f"The video must have the shape [batch, 3, frames, height, width] with sides that are multiples of "
            f"{VAE_SPATIAL_STRIDE}, got {list(video.shape)}: crop or scale it first."
        )
    frames = video.shape[2]
    if begins and frames % VAE_TEMPORAL_STRIDE != 1:
        raise InputError(f"A video begins with 1, 5, 9, ... frames (one, then four per latent), got {frames}: trim it.")
    if not begins and (frames == 0 or frames % VAE_TEMPORAL_STRIDE):
        raise InputError(f"A stream goes on with 4, 8, 12, ... frames (four per latent), got {frames}: collect more.")
