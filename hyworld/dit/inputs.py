"""The inputs of one forward of the network."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from .kv_memory import KVMemory
from .rolling import RollingMemory

TextKV = tuple[tuple[Tensor, Tensor], ...]
"""Cross-attention keys and values of every block for one prompt, or for the CLIP tokens of one picture."""


class Inputs(NamedTuple):
    """F frames and what they attend to.

    latents: `[B, C + image channels, F, h, w]`, normalised; h and w even. Its dtype is the compute dtype.
    timestep: `[B, F]` in 0..1000; WorldPlay's context timestep marks clean frames.
    text_kv: from `WanDiT.text_keys_values`.
    memory: K more frames to attend to. A `KVMemory`'s are at temporal positions 0..K-1 and the given frames at
        K..K+F-1, whatever their index in the video, as in training; for a `RollingMemory` see there.
    prefill: only write keys and values into `memory`: a `KVMemory` then remembers these frames instead of its own, a
        `RollingMemory` has them in the chunk's slots.

    Only for a network with cameras; WorldPlay needs them:
    viewmats: `[B, F, 4, 4]` world-to-camera. Only poses relative to each other (WorldPlay: and to the memory's) matter.
    intrinsics: `[B, F, 3, 3]` normalised (fx / width, fy / height).
    action: `[B, F]` labels 0..80, of WorldPlay.

    Only for a network with CLIP tokens, which needs it:
    image_kv: from `WanDiT.image_keys_values`.
    """

    latents: Tensor
    timestep: Tensor
    text_kv: TextKV
    memory: KVMemory | RollingMemory | None = None
    prefill: bool = False
    viewmats: Tensor | None = None
    intrinsics: Tensor | None = None
    action: Tensor | None = None
    image_kv: TextKV | None = None
