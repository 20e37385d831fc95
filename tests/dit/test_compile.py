"""A host's compile node compiles the whole network; torch gives up after eight variants of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hyworld.config import DiTConfig
from hyworld.dit import Inputs, KVMemory, RollingMemory, WanDiT
from hyworld.weights.random import randomise


class Compiled:
    """A small network that counts what torch compiles of it."""

    def __init__(self, **kind: object) -> None:
        from torch._dynamo.testing import CompileCounter  # two seconds, which every process of the suite would take

        torch._dynamo.reset()
        self.model = randomise(WanDiT(DiTConfig(2, 12, 1, 64, 4, 12, 16, **kind)), 0)
        self.text_kv = self.model.text_keys_values(torch.randn(1, 5, 12))
        self.counter = CompileCounter()
        self._run = torch.compile(self.model, backend=self.counter)

    def __call__(self, memory: KVMemory | RollingMemory, frames: int, **more: object) -> Tensor | None:
        return self._run(Inputs(torch.randn(1, 4, frames, 4, 6), torch.rand(1, frames), self.text_kv, memory, **more))


@torch.no_grad()
@pytest.mark.parametrize("compact", [False, True])
def test_a_memory_that_fills_up(compact: bool):
    network = Compiled(cameras=True)
    memory = KVMemory(network.model.config, memory_frames=16, new_frames=4, tokens_per_frame=6, compact=compact)

    def control(frames: int) -> dict[str, Tensor]:
        eyes = [torch.eye(n).repeat(1, frames, 1, 1) for n in (4, 3)]
        return {"viewmats": eyes[0], "intrinsics": eyes[1], "action": torch.zeros(1, frames)}

    for chunk in range(6):
        memory.clear()
        remembered = min(16, 4 * chunk)
        if remembered:
            network(memory, remembered, prefill=True, **control(remembered))
        network(memory, 4, **control(4))
    assert network.counter.frame_count <= 6


@torch.no_grad()
@pytest.mark.parametrize("rotated", [False, True])
def test_a_window_that_rolls_on(rotated: bool):
    network = Compiled(cameras=False)
    memory = RollingMemory(network.model.config, window=4, sink=1, chunk=2, tokens_per_frame=6, rotated=rotated)
    compiled = []
    for _ in range(10):
        memory.begin()
        network(memory, 2)
        memory.commit()
        compiled.append(network.counter.frame_count)
    assert compiled[-1] <= 6
    assert compiled[4] == compiled[-1], "positions that grow need nothing new"


@torch.no_grad()
def test_a_camera_branch_of_its_own_in_a_window():
    network = Compiled(camera_width=8)
    memory = RollingMemory(network.model.config, window=4, sink=2, chunk=2, tokens_per_frame=6, rotated=False)
    eyes = [torch.eye(n).repeat(1, 2, 1, 1) for n in (4, 3)]
    for _ in range(8):
        memory.begin()
        for prefill in (False, True):
            network(memory, 2, viewmats=eyes[0], intrinsics=eyes[1], prefill=prefill)
        memory.commit()
    assert network.counter.frame_count <= 7
