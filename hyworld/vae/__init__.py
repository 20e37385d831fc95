"""The Wan VAEs and the tiny decoder. All decoders stream, see `StreamingDecoder`; `to_uint8` makes pictures."""

from typing import Any

from ..config import VAEConfig, Wan21VAEConfig
from .causal import CausalVAE
from .stream import StreamingDecoder, VAECache, to_uint8
from .taehv import TinyDecoder
from .wan21 import Wan21VAE
from .wan22 import Wan22VAE

__all__ = [
    "CausalVAE",
    "StreamingDecoder",
    "TinyDecoder",
    "VAECache",
    "Wan21VAE",
    "Wan22VAE",
    "make_vae",
    "to_uint8",
]


def make_vae(config: VAEConfig, **options: Any) -> CausalVAE:
    """The VAE of these sizes, with the options of `CausalVAE`."""
    return (Wan21VAE if isinstance(config, Wan21VAEConfig) else Wan22VAE)(config, **options)
