"""One chunk with a full memory behind it: what the network was given in it, and what came out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from hyworld import World
from hyworld.bench.workload import Setup, Source, start, walk
from hyworld.config import CHUNK_LATENTS, DiTConfig, MemoryConfig
from hyworld.dit import TextKV
from hyworld.rollout import Chunk, RolloutState
from hyworld.rollout.engine import Network

FIRST_FULL = MemoryConfig().frames // CHUNK_LATENTS
"""First chunk with a full memory behind it."""


class Forward(NamedTuple):
    """What the network was called with."""

    latents: Tensor
    timestep: Tensor
    control: dict[str, Tensor]

    def copy(self) -> Forward:
        """A copy that the caller's buffers do not change."""
        control = {name: tensor.clone() for name, tensor in self.control.items()}
        return Forward(self.latents.clone(), self.timestep.clone(), control)


class RecordingNetwork:
    """A `Network` that keeps its last prefill, and the first denoising forward after it with the flow it gave."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.prefill: Forward | None = None
        self.step: Forward | None = None
        self.flow: Tensor | None = None

    @property
    def config(self) -> DiTConfig:
        """See `Network`."""
        return self.network.config

    def text_keys_values(self, text: Tensor) -> TextKV:
        """See `Network`."""
        return self.network.text_keys_values(text)

    def __call__(
        self,
        latents: Tensor,
        timestep: Tensor,
        text_kv: TextKV,
        *,
        memory: Any = None,
        prefill: bool = False,
        **control: Any,
    ) -> Tensor | None:
        """See `Network`."""
        flow = self.network(latents, timestep, text_kv, memory=memory, prefill=prefill, **control)
        forward = Forward(latents, timestep, control)
        if prefill:
            self.prefill, self.step = forward.copy(), None
        elif self.step is None:
            assert flow is not None
            self.step, self.flow = forward.copy(), flow.clone()
        return flow


class Recorded(NamedTuple):
    """The first chunk's frames; the world before a chunk with a full memory, that chunk, and two of its forwards."""

    first_frames: Tensor
    before: RolloutState
    prefill: Forward
    step: Forward
    flow: Tensor
    chunk: Chunk


def record(world: World, source: Source, setup: Setup, before: RolloutState | None = None) -> Recorded:
    """Make the first chunk, and the one after `before`, undecoded (default: after a walk that fills the memory)."""
    path, engine = walk(FIRST_FULL + 1), world.engine
    engine.model = recorded = RecordingNetwork(engine.model)
    start(world, source, setup)
    first_frames = engine.step(path.chunk(0)).frames
    if before is None:
        for i in range(1, FIRST_FULL):
            engine.step(path.chunk(i))
        before = engine.state()
    else:
        engine.decoder = None
        engine.resume(before)
    chunk = engine.step(path.chunk(FIRST_FULL))
    assert first_frames is not None
    assert recorded.prefill is not None
    assert recorded.step is not None
    assert recorded.flow is not None
    before = replace(before, decoder_cache=None)  # gigabytes that nobody goes on from
    return Recorded(first_frames, before, recorded.prefill, recorded.step, recorded.flow, chunk)
