"""Streaming with a rolling memory equals attention over everything that the window lets a chunk see."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hyworld.config import DiTConfig
from hyworld.dit import PLAIN, Inputs, RollingMemory, TextKV, WanDiT
from hyworld.dit.graphs import GraphedNetwork, _Recording, changing
from hyworld.errors import InputError
from hyworld.weights.random import randomise

CONFIG = DiTConfig(2, 12, 3, 64, 4, 12, 16, cameras=False)
TOKENS = 6


@pytest.fixture(scope="module")
def model() -> WanDiT:
    return randomise(WanDiT(CONFIG), 0)


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def prompt(model: WanDiT, seed: int = 1) -> TextKV:
    return model.text_keys_values(torch.randn(1, 5, 12, generator=torch.Generator().manual_seed(seed)))


def clips(chunks: int, n: int) -> list[Tensor]:
    return list(torch.randn(chunks, 1, 4, n, 4, 6))


def rolling(n: int, window: int, sink: int = 0, *, config: DiTConfig = CONFIG, rotated: bool = True) -> RollingMemory:
    return RollingMemory(config, window=window, sink=sink, chunk=n, tokens_per_frame=TOKENS, rotated=rotated)


def streamed(network, memory: RollingMemory, chunks: list[Tensor], text_kv: TextKV, *, noisy: int = 0) -> list[Tensor]:
    """The flow of every chunk's last forward, after `noisy` others whose keys and values nobody may see later."""
    flows = []
    for chunk in chunks:
        memory.begin()
        for step in range(noisy):
            network(Inputs(torch.randn_like(chunk), timestep(chunk, 900.0 - step), text_kv, memory))
        flows.append(network(Inputs(chunk, timestep(chunk), text_kv, memory)))
        memory.commit()
    return flows


def timestep(chunk: Tensor, t: float = 37.0) -> Tensor:
    return torch.full((1, chunk.shape[2]), t)


def at_once(model: WanDiT, chunks: list[Tensor], text_kv: TextKV, window: int, sink: int) -> Tensor:
    """One forward over all chunks without a memory, where a chunk sees itself, its window and the sink."""
    n = chunks[0].shape[2]
    frame = torch.arange(len(chunks) * n).repeat_interleave(TOKENS)
    seen = torch.zeros(len(frame), len(frame), dtype=torch.bool)
    held: list[int] = []
    for chunk in range(len(chunks)):
        held += range(chunk * n, chunk * n + n)
        while len(held) > sink + window:
            del held[sink]
        seen |= (frame // n == chunk)[:, None] & torch.isin(frame, torch.tensor(held))

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mask = seen if k.shape[2] == len(frame) else None  # no mask towards the prompt
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    model.kernels = PLAIN._replace(attend=attend)
    try:
        together = torch.cat(chunks, dim=2)
        return model(Inputs(together, timestep(together), text_kv))
    finally:
        model.kernels = PLAIN


@pytest.mark.parametrize(
    ("n", "window", "sink"),
    [
        (3, 15, 0),  # never full: causal by chunk
        (3, 6, 0),
        (1, 2, 0),
        (2, 4, 2),
        (3, 7, 5),  # a sink that ends inside a chunk
        (3, 7, 0),  # not a whole number of chunks
    ],
)
def test_a_stream_equals_one_forward_over_all(model: WanDiT, n: int, window: int, sink: int):
    chunks, text_kv = clips(5, n), prompt(model)
    memory = rolling(n, window, sink)
    got = torch.cat(streamed(model, memory, chunks, text_kv, noisy=2), dim=2)
    torch.testing.assert_close(got, at_once(model, chunks, text_kv, window, sink), rtol=1e-4, atol=1e-5)
    assert (memory.made, memory.frames) == (5 * n, min(5 * n, window + sink))
    assert all(tensor.shape == (1, 2, memory.frames * TOKENS, 12) for tensor in memory.read(2))


def test_rotating_anew_changes_nothing_until_something_is_dropped(model: WanDiT):
    chunks, text_kv = clips(4, 2), prompt(model)
    kept, anew = (streamed(model, rolling(2, 4, 2, rotated=rotated), chunks, text_kv) for rotated in (True, False))
    for chunk in range(3):
        torch.testing.assert_close(anew[chunk], kept[chunk], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(anew[3], kept[3], atol=1e-3), "the gap behind the sink has closed"


def test_rotating_anew_forgets_how_much_was_dropped():
    """In one block keys and values depend on their frame alone, so a window is what it would be in a fresh walk."""
    config = DiTConfig(2, 12, 1, 64, 4, 12, 16, cameras=False)
    model = randomise(WanDiT(config), 0)
    chunks, text_kv = clips(5, 2), prompt(model)
    long = streamed(model, rolling(2, 4, 2, config=config, rotated=False), chunks, text_kv)[-1]
    fresh = streamed(model, rolling(2, 4, 2, config=config), [chunks[0], *chunks[3:]], text_kv)[-1]
    torch.testing.assert_close(long, fresh, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rotated", [False, True])
def test_what_lies_in_free_slots_is_never_read(model: WanDiT, rotated: bool):
    chunks, text_kv = clips(4, 2), prompt(model)
    outcomes = []
    for poison in (0.0, float("nan")):
        memory = rolling(2, 4, 1, rotated=rotated)
        for buffer in (*memory._k, *memory._v, *(memory._scratch or ())):
            buffer.fill_(poison)
        outcomes.append(torch.stack(streamed(model, memory, chunks, text_kv)))
    assert torch.equal(*outcomes)


def test_branches_of_guidance_know_nothing_of_each_other(model: WanDiT):
    chunks, texts = clips(4, 2), (prompt(model, 1), prompt(model, 2))
    alone = [streamed(model, rolling(2, 4), chunks, text_kv) for text_kv in texts]
    memories = [rolling(2, 4) for _ in texts]
    for i, chunk in enumerate(chunks):
        for memory, text_kv, flows in zip(memories, texts, alone, strict=True):
            assert torch.equal(streamed(model, memory, [chunk], text_kv)[0], flows[i])
    assert not torch.allclose(alone[0][3], alone[1][3], atol=1e-3)


def test_a_chunk_given_up_and_a_cleared_memory_leave_nothing_behind(model: WanDiT):
    chunks, text_kv = clips(4, 2), prompt(model)
    want = streamed(model, rolling(2, 4), chunks, text_kv)
    memory = rolling(2, 4)
    streamed(model, memory, clips(3, 2), text_kv)
    memory.clear()
    for chunk, flow in zip(chunks, want, strict=True):
        memory.begin()
        model(Inputs(torch.randn_like(chunk), timestep(chunk), text_kv, memory))  # and then an interrupt
        assert torch.equal(streamed(model, memory, [chunk], text_kv)[0], flow)


def test_positions_grow_and_their_tables_do_not(model: WanDiT):
    model = randomise(WanDiT(CONFIG), 0)
    memory, text_kv = rolling(1, 3), prompt(model)
    addresses = set()
    for _ in range(9):
        streamed(model, memory, clips(1, 1), text_kv)
        addresses |= {table.data_ptr() for _, *tables in model._rope._moving.values() for table in tables}
    assert len(addresses) == 2
    assert [first for first, *_ in model._rope._moving.values()] == [8]


@pytest.mark.parametrize("sizes", [{"n": 3, "window": 2}, {"n": 0, "window": 2}, {"n": 2, "window": 4, "sink": -1}])
def test_sizes_that_hold_no_chunk_are_refused(sizes: dict[str, int]):
    with pytest.raises(InputError, match="needs a window of at least one chunk"):
        rolling(**sizes)


@pytest.mark.parametrize("rotated", [False, True])
def test_bytes_are_those_allocated(rotated: bool):
    memory = rolling(2, 4, 3, rotated=rotated)
    buffers = (*memory._k, *memory._v, *(memory._scratch or ()))
    expected = RollingMemory.nbytes(CONFIG, frames=7, tokens_per_frame=TOKENS, dtype=torch.float32, compact=not rotated)
    assert sum(buffer.nbytes for buffer in buffers) == expected


class Again:
    """A recorded forward without a GPU: the same addresses again, whatever they hold by now."""

    def __init__(self, model: WanDiT, inputs: Inputs) -> None:
        self.model, self.inputs = model, inputs
        self.tables = model.rope_tables(inputs)
        self.flow = torch.empty_like(inputs.latents)

    def replay(self) -> None:
        tables = self.model.rope_tables
        self.model.rope_tables = lambda inputs: self.tables
        try:
            self.flow.copy_(self.model(self.inputs))
        finally:
            self.model.rope_tables = tables


@pytest.mark.parametrize("rotated", [False, True])
def test_recorded_forwards_follow_positions_prompts_and_memories(monkeypatch: pytest.MonkeyPatch, rotated: bool):
    model = randomise(WanDiT(CONFIG), 0)
    graphed, recorded = GraphedNetwork(model), 0

    def record(self: GraphedNetwork, inputs: Inputs) -> _Recording:
        nonlocal recorded
        recorded += 1
        own = inputs._replace(**{name: tensor.clone() for name, tensor in changing(inputs).items()})
        again = Again(model, own)
        return _Recording(again, own, again.flow)

    monkeypatch.setattr(GraphedNetwork, "_record", record)
    outcomes = []
    for network in (model, graphed):
        torch.manual_seed(0)
        memories = [rolling(2, 4, 1, rotated=rotated) for _ in range(2)]
        flows = []
        for i, chunk in enumerate(clips(7, 2)):
            for j, memory in enumerate(memories):
                # Guidance: two prompts in turns; the first changes on the way.
                text_kv = prompt(model, 3 if i > 4 and j == 0 else j)
                flows += streamed(network, memory, [chunk], text_kv, noisy=2)
        outcomes.append(torch.stack(flows))
    assert torch.equal(*outcomes)
    assert recorded == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("rotated", [False, True])
def test_recorded_forwards_are_bit_identical_on_a_gpu(rotated: bool):
    model = randomise(WanDiT(CONFIG, device="cuda"), 0, device="cuda")
    text_kv = tuple((k.cuda(), v.cuda()) for k, v in prompt(randomise(WanDiT(CONFIG), 0)))
    chunks = [chunk.cuda() for chunk in clips(7, 2)]
    outcomes = []
    for network in (model, GraphedNetwork(model)):
        memory = RollingMemory(
            CONFIG, window=4, sink=1, chunk=2, tokens_per_frame=TOKENS, rotated=rotated, device="cuda"
        )
        flows = []
        for chunk in chunks:
            memory.begin()
            steps = [torch.full((1, 2), t, device="cuda") for t in (900.0, 500.0, 0.0)]
            flows += [network(Inputs(chunk, t, text_kv, memory)) for t in steps]
            memory.commit()
        outcomes.append(torch.stack(flows))
    assert torch.equal(*outcomes)


@pytest.mark.parametrize("rotated", [True, False])
def test_a_twin_follows_a_memory_that_drops_and_recalls(rotated: bool):
    """As one in another process, told the state before every forward, also of those behind the sink."""
    n, capacity = 2, 7
    memory, twin = (rolling(n, capacity - 1, 1, rotated=rotated) for _ in range(2))
    held: list[list[float]] = []

    def forward(mark: float) -> None:
        twin.follow(memory.frames, memory.made, memory.dropped)
        for one in (memory, twin):
            k, v = one._until(0, one.frames + n)
            first = one.frames * (TOKENS if rotated else 1)
            for kept in (k, v):
                kept.narrow(2 if rotated else 1, first, kept.shape[2 if rotated else 1] - first).fill_(mark)

    for chunk in range(6):
        memory.begin()
        if chunk > 3:
            with memory.behind_sink():
                forward(100.0 + chunk)
        forward(float(chunk))
        for mine, other in zip(memory._until(0, memory.frames + n), twin._until(0, memory.frames + n), strict=True):
            assert torch.equal(mine, other)
        held.append(memory._until(0, memory.frames + n)[0].unique().tolist())
        memory.commit()
    assert held[-1] == [0.0, 4.0, 5.0, 105.0], "the sink, two chunks, and what was recalled"
