"""What a forward of the network is given, as one value."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from .kv_memory import KVMemory

TextKV = tuple[tuple[Tensor, Tensor], ...]
"""Cross-attention keys and values of every block for one prompt."""


class Inputs(NamedTuple):
    """F frames and what they attend to.

    Attributes:
        latents: `[B, C, F, h, w]`, normalised; h and w even. Its dtype is the compute dtype.
        timestep: `[B, F]` in 0..1000, one per frame; the context timestep marks clean frames.
        viewmats: `[B, F, 4, 4]` world-to-camera. Moving all cameras of a memory and its frames together changes
            nothing but rounding.
        intrinsics: `[B, F, 3, 3]` normalised (fx / width, fy / height).
        action: `[B, F]` labels 0..80.
        text_kv: from `WorldPlayDiT.text_keys_values`.
        memory: the frames attended to besides these; they sit at temporal positions 0..K-1 and the given frames at
            K..K+F-1, whatever their index in the video (how the model was trained).
        prefill: forget what `memory` holds and store these frames in it instead.
    """

    latents: Tensor
    timestep: Tensor
    viewmats: Tensor
    intrinsics: Tensor
    action: Tensor
    text_kv: TextKV
    memory: KVMemory | None = None
    prefill: bool = False
