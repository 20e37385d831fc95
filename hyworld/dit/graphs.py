"""Forwards with a full memory as CUDA graphs: recorded once, then replayed without Python or launch overhead.

Once the memory is full, every prefill and every step has the same shapes and buffers. Earlier forwards run normally.
"""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..config import DiTConfig
from ..fingerprint import Fingerprint
from .inputs import Inputs, TextKV
from .kv_memory import KVMemory
from .model import WanDiT

Shapes = tuple[torch.Size, torch.dtype, bool]


CHANGING = ("latents", "timestep", "viewmats", "intrinsics", "action")
"""Inputs that change between forwards; text and memory keep their addresses."""


class _Recording(NamedTuple):
    """A graph, the inputs it reads and the flow it writes; None after a prefill."""

    graph: torch.cuda.CUDAGraph
    inputs: Inputs
    flow: Tensor | None

    def replay(self, inputs: Inputs) -> Tensor | None:
        for name in CHANGING:
            getattr(self.inputs, name).copy_(getattr(inputs, name))
        self.graph.replay()
        return None if self.flow is None else self.flow.clone()


class GraphedNetwork:
    """`WanDiT` with recorded forwards, for a `Walker`.

    A recording holds the addresses of weights, text and memory. So weights must not move, each new text is copied to
    fixed buffers, and recordings are kept per memory and freed with it.
    """

    def __init__(self, model: WanDiT) -> None:
        self.model = model
        self._recordings: WeakKeyDictionary[KVMemory, dict[Shapes, _Recording]] = WeakKeyDictionary()
        self._text: TextKV = ()
        self._text_given: TextKV | None = None

    @property
    def config(self) -> DiTConfig:
        return self.model.config

    @property
    def fingerprint(self) -> Fingerprint:
        return self.model.fingerprint

    def text_keys_values(self, text: Tensor) -> TextKV:
        """See `WanDiT.text_keys_values`."""
        return self.model.text_keys_values(text)

    def __call__(self, inputs: Inputs) -> Tensor | None:
        """See `WanDiT.forward`; raises `torch.OutOfMemoryError` if the forward or its recording does not fit."""
        memory, frames = inputs.memory, inputs.latents.shape[2]
        if memory is None or not _fills(memory, frames, inputs.prefill):
            return self.model(inputs)
        self._use_text(inputs.text_kv)
        inputs = inputs._replace(text_kv=self._text)
        recordings = self._recordings.setdefault(memory, {})
        key = (inputs.latents.shape, inputs.latents.dtype, inputs.prefill)
        if key not in recordings:
            # Run before recording: recording runs nothing, and needs kernels that are built and warm.
            flow = self.model(inputs)
            recordings[key] = self._record(inputs)
            return flow
        flow = recordings[key].replay(inputs)
        if inputs.prefill:
            memory.frames = frames
        return flow

    def _record(self, inputs: Inputs) -> _Recording:
        own = inputs._replace(**{name: getattr(inputs, name).clone() for name in CHANGING})
        graph = torch.cuda.CUDAGraph()
        full: torch.OutOfMemoryError | None = None
        try:
            with torch.cuda.graph(graph):
                try:
                    flow = self.model(own)
                except torch.OutOfMemoryError as error:
                    full = error
                    raise
        except RuntimeError:
            # Ending a failed recording raises its own error, which would hide this one.
            if full is not None:
                raise full from None
            raise
        # Without the memory: it is the key that this is kept under, and would never vanish.
        return _Recording(graph, own._replace(memory=None, text_kv=()), flow)

    def _use_text(self, text_kv: TextKV) -> None:
        """Put this prompt's keys and values at the addresses that recordings read."""
        if text_kv is self._text_given:
            return
        self._text_given = None  # while the buffers are a mixture
        if self._text and self._text[0][0].shape == text_kv[0][0].shape:
            for mine, given in zip(self._text, text_kv, strict=True):
                for buffer, tensor in zip(mine, given, strict=True):
                    buffer.copy_(tensor)
        else:
            self._recordings.clear()
            self._text = tuple((k.clone(), v.clone()) for k, v in text_kv)
        self._text_given = text_kv


def _fills(memory: KVMemory, frames: int, prefill: bool) -> bool:
    """Whether these frames fill the memory: its memory frames (prefill) or its capacity."""
    return frames == memory.memory_frames if prefill else memory.frames + frames == memory.capacity_frames
