"""The inputs of one forward of the network."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from .kv_memory import KVMemory

TextKV = tuple[tuple[Tensor, Tensor], ...]
"""Cross-attention keys and values of every block for one prompt."""


class Inputs(NamedTuple):
    """F frames and what they attend to.

    latents: `[B, C, F, h, w]`, normalised; h and w even. Its dtype is the compute dtype.
    timestep: `[B, F]` in 0..1000; the context timestep marks clean frames.
    viewmats: `[B, F, 4, 4]` world-to-camera. Only poses relative to each other and to the memory's matter.
    intrinsics: `[B, F, 3, 3]` normalised (fx / width, fy / height).
    action: `[B, F]` labels 0..80.
    text_kv: from `WanDiT.text_keys_values`.
    memory: K more frames to attend to. They are at temporal positions 0..K-1 and the given frames at K..K+F-1, whatever
        their index in the video, as in training.
    prefill: replace the frames in `memory` by these.
    """

    latents: Tensor
    timestep: Tensor
    viewmats: Tensor
    intrinsics: Tensor
    action: Tensor
    text_kv: TextKV
    memory: KVMemory | None = None
    prefill: bool = False
