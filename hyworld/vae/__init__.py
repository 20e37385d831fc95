"""Pictures to latents and back: the Wan 2.2 VAE and the tiny decoder.

Both decoders follow `StreamingDecoder`: they are fed a few latents at a time together with the cache that the
previous call returned, and give the same frames as if the whole sequence had been decoded at once. The cache is an
immutable value, so that a stream can go on from any point. `to_uint8` makes pictures of frames.
"""

from .stream import StreamingDecoder, VAECache, to_uint8
from .taehv import TinyDecoder
from .wan22 import WanVAE

__all__ = ["StreamingDecoder", "TinyDecoder", "VAECache", "WanVAE", "to_uint8"]
