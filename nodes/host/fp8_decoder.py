"""The decoder of a VAE with convolutions in fp8, beside the host's VAE."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_management
import comfy.model_patcher
import torch
from torch import Tensor, nn

from ...hyworld.config import VAEConfig
from ...hyworld.errors import InputError
from ...hyworld.gpu import fp8_convolutions_missing
from ...hyworld.modes import set_vae_kernels
from ...hyworld.vae import CausalVAE, make_vae
from ...hyworld.vae.fp8_convolution import use_fp8_convolutions
from ...hyworld.walk.decoding import DecoderCaches
from .run import raise_if_interrupted


class HostFp8Decoder:
    """A copy of a VAE's decoder, rounded once, under the host's memory management.

    weigh: the VAE's weight of a name, on a device.

    Raises:
        InputError: this card has no such convolutions.
    """

    def __init__(self, config: VAEConfig, dtype: torch.dtype, weigh: Callable[[str, torch.device], Tensor]) -> None:
        self.dtype = dtype
        self.device = comfy.model_management.vae_device()
        missing = fp8_convolutions_missing(self.device)
        if missing is not None:
            raise InputError(f"The fp8 convolutions cannot run: {missing}; choose another decoder.")
        self._decoder = _rounded(config, dtype, weigh)
        set_vae_kernels(self._decoder, "auto", self.device)
        self.latent_channels = self._decoder.latent_channels
        self.spatial_stride = self._decoder.spatial_stride
        self.reach = self._decoder.reach
        self.caches = DecoderCaches()
        self.patcher = comfy.model_patcher.ModelPatcher(
            self._decoder, load_device=self.device, offload_device=comfy.model_management.vae_offload_device()
        )

    def decode_stream(self, latents: Tensor, cache: Any = None) -> tuple[Tensor, Any]:
        """See `StreamingDecoder.decode_stream`; raises the host's interrupt."""
        raise_if_interrupted()
        return self._decoder.decode_stream(latents.to(self.device, self.dtype), cache)


def _rounded(config: VAEConfig, dtype: torch.dtype, weigh: Callable[[str, torch.device], Tensor]) -> CausalVAE:
    vae = make_vae(config, device="meta", dtype=dtype).eval()
    vae.encoder = vae.conv1 = nn.Identity()
    place = comfy.model_management.vae_offload_device()
    vae.load_state_dict({name: weigh(name, place).to(dtype, copy=True) for name in vae.state_dict()}, assign=True)
    use_fp8_convolutions(vae)
    return vae.requires_grad_(False)
