"""How many shapes torch.compile may compile one function for before it gives up and runs it plainly."""

from __future__ import annotations

import torch

_SHAPES = 64
"""Ample: every count of memory frames is a shape of the network's block, every resolution one of the decoder."""


def allow_many_shapes() -> None:
    """Raise torch's limit, which is process-wide and has another name in older versions, to `_SHAPES`."""
    config = torch._dynamo.config
    name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    setattr(config, name, max(getattr(config, name), _SHAPES))
