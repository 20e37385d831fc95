"""What this machine's CPU can do."""

from __future__ import annotations

from functools import lru_cache

import torch


@lru_cache(maxsize=1)
def multiplies_bfloat16() -> bool:
    """Whether it has instructions for products in bfloat16 (AVX512_BF16 or AMX): twice as fast as float32, or more.

    Without them bfloat16 is slower.
    """
    # torch has no public name for these.
    asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(supported() for supported in asked if supported is not None)
