"""The Wan 2.2 VAE and the tiny decoder. Both decoders stream, see `StreamingDecoder`; `to_uint8` makes pictures."""

from .stream import StreamingDecoder, VAECache, to_uint8
from .taehv import TinyDecoder
from .wan22 import Wan22VAE

__all__ = ["StreamingDecoder", "TinyDecoder", "VAECache", "Wan22VAE", "to_uint8"]
