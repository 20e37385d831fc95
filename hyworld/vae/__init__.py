"""The Wan 2.2 VAE and the tiny decoder. Both decoders stream, see `StreamingDecoder`; `to_uint8` makes pictures."""

from .stream import StreamingDecoder, VAECache, to_uint8
from .taehv import TinyDecoder
from .wan22 import WanVAE

__all__ = ["StreamingDecoder", "TinyDecoder", "VAECache", "WanVAE", "to_uint8"]
