"""The forwards of the steady state as CUDA graphs: recorded once, then replayed without Python or launches in between.

A rollout is in its steady state once its memory is full: from then on every prefill and every step has the same shapes
and the same buffers. What comes before runs as always.
"""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..config import CHUNK_LATENTS, DiTConfig
from .kv_memory import KVMemory
from .model import TextKV, WorldPlayDiT

Shapes = tuple[torch.Size, torch.dtype, bool]


class _Recording(NamedTuple):
    """A graph, the tensors it reads and the one it writes; None after a prefill."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    flow: Tensor | None

    def replay(self, inputs: tuple[Tensor, ...]) -> Tensor | None:
        for mine, given in zip(self.inputs, inputs, strict=True):
            mine.copy_(given)
        self.graph.replay()
        return None if self.flow is None else self.flow.clone()


class GraphedNetwork:
    """`WorldPlayDiT` with recorded forwards; takes its place in a rollout engine.

    A recording holds the addresses of weights, text and memory. The weights must therefore stay where they are; the
    text is copied to a place of its own whenever another one comes; and recordings are kept by the memory they write
    to and vanish with it, so that none is ever replayed into memory that was freed.
    """

    def __init__(self, model: WorldPlayDiT) -> None:
        self.model = model
        self._recordings: WeakKeyDictionary[KVMemory, dict[Shapes, _Recording]] = WeakKeyDictionary()
        self._text: TextKV = ()
        self._text_given: TextKV | None = None

    @property
    def config(self) -> DiTConfig:
        """Sizes of the network."""
        return self.model.config

    def text_keys_values(self, text: Tensor) -> TextKV:
        """See `WorldPlayDiT.text_keys_values`."""
        return self.model.text_keys_values(text)

    def __call__(
        self,
        latents: Tensor,
        timestep: Tensor,
        text_kv: TextKV,
        *,
        viewmats: Tensor,
        intrinsics: Tensor,
        action: Tensor,
        memory: KVMemory | None = None,
        prefill: bool = False,
    ) -> Tensor | None:
        """See `WorldPlayDiT.forward`."""
        inputs = (latents, timestep, viewmats, intrinsics, action)
        if memory is None or not _fills(memory, latents.shape[2], prefill):
            return self._forward(inputs, text_kv, memory, prefill)
        self._use_text(text_kv)
        recordings = self._recordings.setdefault(memory, {})
        key = (latents.shape, latents.dtype, prefill)
        if key not in recordings:
            # Run before it is recorded: recording runs nothing, and kernels must be built and warm by then.
            flow = self._forward(inputs, self._text, memory, prefill)
            recordings[key] = self._record(inputs, memory, prefill)
            return flow
        flow = recordings[key].replay(inputs)
        if prefill:
            memory.frames = latents.shape[2]
        return flow

    def _forward(
        self, inputs: tuple[Tensor, ...], text_kv: TextKV, memory: KVMemory | None, prefill: bool
    ) -> Tensor | None:
        latents, timestep, viewmats, intrinsics, action = inputs
        camera = {"viewmats": viewmats, "intrinsics": intrinsics, "action": action}
        return self.model(latents, timestep, text_kv, **camera, memory=memory, prefill=prefill)

    def _record(self, inputs: tuple[Tensor, ...], memory: KVMemory, prefill: bool) -> _Recording:
        inputs = tuple(tensor.clone() for tensor in inputs)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            flow = self._forward(inputs, self._text, memory, prefill)
        return _Recording(graph, inputs, flow)

    def _use_text(self, text_kv: TextKV) -> None:
        """Have the keys and values of this prompt at the addresses that recordings read."""
        if text_kv is self._text_given:
            return
        if self._text and self._text[0][0].shape == text_kv[0][0].shape:
            for mine, given in zip(self._text, text_kv, strict=True):
                for buffer, tensor in zip(mine, given, strict=True):
                    buffer.copy_(tensor)
        else:
            self._recordings.clear()
            self._text = tuple((k.clone(), v.clone()) for k, v in text_kv)
        self._text_given = text_kv


def _fills(memory: KVMemory, frames: int, prefill: bool) -> bool:
    """Whether the memory is full with these frames: as a prefill, but for the frames of the chunk to come."""
    return (frames + CHUNK_LATENTS if prefill else memory.frames + frames) == memory.capacity_frames
