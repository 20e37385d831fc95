"""Records the network's inputs and outputs for one chunk with a full memory."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from hyworld import Chunk, Pipeline, World
from hyworld.bench.workload import Setup, Source, start, walk
from hyworld.config import MemoryConfig
from hyworld.dit import Inputs
from hyworld.dit.graphs import changing
from hyworld.walk import WORLDPLAY
from hyworld.walk.wrapped import WrappedNetwork

FIRST_FULL = MemoryConfig().frames // WORLDPLAY.chunk_latents
"""First chunk with a full memory."""


def _copy(inputs: Inputs) -> Inputs:
    """A copy that shares no buffers with the walker."""
    tensors = {name: tensor.clone() for name, tensor in changing(inputs).items()}
    return inputs._replace(**tensors, memory=None)


class RecordingNetwork(WrappedNetwork):
    """Keeps its last prefill, and the first denoising forward after it with the flow it gave."""

    prefill: Inputs | None = None
    step: Inputs | None = None
    flow: Tensor | None = None

    def __call__(self, inputs: Inputs) -> Tensor | None:
        flow = self.network(inputs)
        if inputs.prefill:
            self.prefill, self.step = _copy(inputs), None
        elif self.step is None:
            assert flow is not None
            self.step, self.flow = _copy(inputs), flow.clone()
        return flow


class Recorded(NamedTuple):
    """The first chunk's frames; a chunk with a full memory, the world `before` it, and two of its forwards."""

    first_frames: Tensor
    before: World
    prefill: Inputs
    step: Inputs
    flow: Tensor
    chunk: Chunk


def record(pipeline: Pipeline, source: Source, setup: Setup, before: World | None = None) -> Recorded:
    """Make the first chunk and the one after `before`, undecoded (default: walk until the memory is full)."""
    path, walker = walk(FIRST_FULL + 1), pipeline.walker
    walker.network = recorded = RecordingNetwork(walker.network)
    world = start(pipeline, source, setup)
    if before is None:
        *earlier, chunk = pipeline.walk(world, path)
        first, before = earlier[0], earlier[-1].world
    else:
        first = next(pipeline.walk(world, path))
        walker.decoding = None
        chunk = walker.step(before, path.split(WORLDPLAY.chunk_latents)[FIRST_FULL])
    assert first.frames is not None
    assert recorded.prefill is not None
    assert recorded.step is not None
    assert recorded.flow is not None
    return Recorded(first.frames, before, recorded.prefill, recorded.step, recorded.flow, chunk)
