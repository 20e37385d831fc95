"""A network and a decoder in front of others, for what comes between a walk and them."""

from __future__ import annotations

from torch import Tensor

from ..config import DiTConfig
from ..dit import Inputs, TextKV
from ..fingerprint import Fingerprint
from ..vae import StreamingDecoder, VAECache
from ..vae.stream import Past
from .networks import Network


class WrappedNetwork:
    """A `Network` in front of another."""

    def __init__(self, network: Network) -> None:
        self.network = network

    @property
    def config(self) -> DiTConfig:
        return self.network.config

    @property
    def fingerprint(self) -> Fingerprint:
        return self.network.fingerprint

    def text_keys_values(self, text: Tensor) -> TextKV:
        return self.network.text_keys_values(text)

    def image_keys_values(self, clip: Tensor) -> TextKV:
        return self.network.image_keys_values(clip)

    def __call__(self, inputs: Inputs) -> Tensor | None:
        return self.network(inputs)


class WrappedDecoder:
    """A `StreamingDecoder` in front of another."""

    def __init__(self, decoder: StreamingDecoder) -> None:
        self.decoder = decoder

    @property
    def latent_channels(self) -> int:
        return self.decoder.latent_channels

    @property
    def spatial_stride(self) -> int:
        return self.decoder.spatial_stride

    @property
    def reach(self) -> int:
        return self.decoder.reach

    def decode_stream(self, latents: Tensor, cache: Past | None = None) -> tuple[Tensor, VAECache]:
        return self.decoder.decode_stream(latents, cache)
