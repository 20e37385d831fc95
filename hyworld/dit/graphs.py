"""Forwards with a full memory as CUDA graphs: recorded once, then replayed without Python or launch overhead.

Once the memory is full, every prefill and every step has the same shapes and buffers. Earlier forwards run normally.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..config import DiTConfig
from ..fingerprint import Fingerprint
from .inputs import Inputs, TextKV
from .kv_memory import KVMemory
from .model import WanDiT
from .rolling import RollingMemory

Shapes = tuple[torch.Size, torch.dtype, bool]


CHANGING = ("latents", "timestep", "viewmats", "intrinsics", "action")
"""Inputs that change between forwards, those of them that a network has; text and memory keep their addresses."""


def changing(inputs: Inputs) -> dict[str, Any]:
    """The tensors of `inputs` that change between forwards, by name."""
    return {name: tensor for name in CHANGING if (tensor := getattr(inputs, name)) is not None}


class _Recording(NamedTuple):
    """A graph, the inputs it reads and the flow it writes; None after a prefill."""

    graph: torch.cuda.CUDAGraph
    inputs: Inputs
    flow: Tensor | None

    def replay(self, inputs: Inputs) -> Tensor | None:
        for name, tensor in changing(inputs).items():
            getattr(self.inputs, name).copy_(tensor)
        self.graph.replay()
        return None if self.flow is None else self.flow.clone()


class _Fixed:
    """Keys and values of one prompt, or picture, at a time, at the addresses that recordings read; () is none."""

    def __init__(self) -> None:
        self.own: TextKV = ()
        self._given: TextKV = ()

    def take(self, given: TextKV) -> bool:
        """Take the numbers of `given`; returns whether that changed the addresses."""
        if given is self._given:
            return False
        self._given = ()  # while the buffers are a mixture
        fits = bool(self.own and given) and self.own[0][0].shape == given[0][0].shape
        if fits:
            for mine, theirs in zip(self.own, given, strict=True):
                for buffer, tensor in zip(mine, theirs, strict=True):
                    buffer.copy_(tensor)
        else:
            self.own = tuple((k.clone(), v.clone()) for k, v in given)
        self._given = given
        return not fits


class _Recordings(dict[Shapes, _Recording]):
    """Of one memory, with the prompt and the picture that they read."""

    def __init__(self) -> None:
        super().__init__()
        self._text, self._image = _Fixed(), _Fixed()

    def take(self, inputs: Inputs) -> Inputs:
        """`inputs` with prompt and picture where recordings read them."""
        if self._text.take(inputs.text_kv) | self._image.take(inputs.image_kv or ()):
            self.clear()
        return inputs._replace(text_kv=self._text.own, image_kv=self._image.own or None)


class GraphedNetwork:
    """`WanDiT` with recorded forwards, for a `Walker`.

    A recording holds the addresses of weights, text and memory. So weights must not move, each new text is copied to
    fixed buffers, and recordings are kept per memory, with their text, and freed with it.
    """

    def __init__(self, model: WanDiT) -> None:
        self.model = model
        self._recordings: WeakKeyDictionary[KVMemory | RollingMemory, _Recordings] = WeakKeyDictionary()

    @property
    def config(self) -> DiTConfig:
        return self.model.config

    @property
    def fingerprint(self) -> Fingerprint:
        return self.model.fingerprint

    def text_keys_values(self, text: Tensor) -> TextKV:
        """See `WanDiT.text_keys_values`."""
        return self.model.text_keys_values(text)

    def image_keys_values(self, clip: Tensor) -> TextKV:
        """See `WanDiT.image_keys_values`."""
        return self.model.image_keys_values(clip)

    def __call__(self, inputs: Inputs) -> Tensor | None:
        """See `WanDiT.forward`; raises `torch.OutOfMemoryError` if the forward or its recording does not fit."""
        memory, frames = inputs.memory, inputs.latents.shape[2]
        if memory is None or not memory.fills(frames, prefill=inputs.prefill):
            return self.model(inputs)
        recordings = self._recordings.setdefault(memory, _Recordings())
        inputs = recordings.take(inputs)
        key = (inputs.latents.shape, inputs.latents.dtype, inputs.prefill)
        if key not in recordings:
            # Run before recording: recording runs nothing, and needs kernels that are built and warm.
            flow = self.model(inputs)
            recordings[key] = self._record(inputs)
            return flow
        self.model.rope_tables(inputs)  # a recording reads them where they are, whatever they hold
        flow = recordings[key].replay(inputs)
        if inputs.prefill and isinstance(memory, KVMemory):
            memory.frames = frames
        return flow

    def _record(self, inputs: Inputs) -> _Recording:
        own = inputs._replace(**{name: tensor.clone() for name, tensor in changing(inputs).items()})
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
        return _Recording(graph, own._replace(memory=None, text_kv=(), image_kv=None), flow)
