"""Processes that a program starts to share its walks: they have its weights, and their end is not its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hyworld import Pipeline
from hyworld.dit import WanDiT
from hyworld.errors import InputError
from hyworld.modes import Modes
from hyworld.parallel import RankLostError
from hyworld.parallel.copies import Shell, Source, built, copy_to_others
from hyworld.parallel.hired import Hired
from hyworld.parallel.lead import Crew, SharedDecoder, SharedNetwork
from hyworld.parallel.share import for_strip, share_networks
from hyworld.pipeline import load
from hyworld.walk import WORLDPLAY

ROOT = Path(__file__).parents[2]
SIZE = (64, 96)


@pytest.fixture
def hired() -> Iterator[Hired]:
    processes = Hired(("cpu", "cpu"))
    yield processes
    processes.close()


def tiny() -> Pipeline:
    return load(preset="tiny-random", device="cpu")


def shared(pipeline: Pipeline, crew: Crew) -> Pipeline:
    """`pipeline`, with copies of its weights in the other processes."""
    walker, vae = pipeline.walker, pipeline.vae
    network = walker.network
    assert isinstance(network, WanDiT)
    sources = [
        Source(part.config, torch.float32, lambda name, device, part=part: part.get_parameter(name))
        for part in (network, vae)
    ]
    copy_to_others(crew, sources[:1], sources[1], walker.recipe, Modes(), walker.device)
    share_networks(walker)
    walker.network = SharedNetwork(network, 0, crew)
    walker.verify = crew.job.verify
    walker.decoding.decoder = SharedDecoder(for_strip(vae), vae, crew)
    return pipeline


def walked(pipeline: Pipeline, path: str = "w-7") -> tuple[torch.Tensor, torch.Tensor]:
    """Latents and frames."""
    chunks = list(pipeline.walk(pipeline.start(size=SIZE, seed=3), path))
    return chunks[-1].world.latents, torch.cat([chunk.frames for chunk in chunks])


@torch.no_grad()
def patch(pipeline: Pipeline) -> Pipeline:
    pipeline.walker.network.blocks[0].self_attn.q.weight.mul_(1.5)
    return pipeline


def test_they_have_the_weights_that_the_leader_has(hired: Hired):
    crew = Crew(hired)
    results = []
    for make in (tiny, lambda: patch(tiny())):
        one, several = walked(make()), walked(shared(make(), crew))
        assert (one[0] - several[0]).norm() / one[0].norm() < 1e-5
        assert (one[1].int() - several[1].int()).abs().max() <= 1
        results.append(several[0])
    assert (results[0] - results[1]).norm() / results[0].norm() > 1e-3
    (process,) = hired._processes

    pipeline = shared(tiny(), crew)
    walk = pipeline.walk(pipeline.start(size=SIZE), "w-11")
    next(walk)
    began = time.monotonic()
    process.send_signal(signal.SIGKILL)
    with pytest.raises(RankLostError, match="Process 2 of the 2 that share this walk has ended"):
        list(walk)
    assert time.monotonic() - began < 5
    assert not hired.together
    with pytest.raises(InputError, match=r"torch\.distributed already"):
        Hired(("cpu", "cpu"))


def test_copies_keep_fp8_weights_and_no_encoder(monkeypatch: pytest.MonkeyPatch):
    """As one process that does not lead makes them, with weights that come from nowhere."""
    sent = []
    monkeypatch.setattr("torch.distributed.broadcast", lambda tensor, source: sent.append(tensor.dtype))
    pipeline, name = tiny(), "blocks.0.ffn.0.weight"
    config = pipeline.walker.network.config
    networks = (Shell(config, torch.bfloat16, frozenset([name])),)
    walker = built(networks, Shell(pipeline.vae.config, torch.bfloat16), WORLDPLAY, Modes(), device="cpu").walker
    kinds = {key: weight.dtype for key, weight in walker.network.state_dict().items()}
    assert [key for key, kind in kinds.items() if kind == torch.float8_e4m3fn] == [name]
    assert {kind for key, kind in kinds.items() if key.endswith("modulation")} == {torch.float32}
    assert set(kinds.values()) == {torch.float8_e4m3fn, torch.float32, torch.bfloat16}
    assert torch.float8_e4m3fn not in sent, "which not every backend can send"
    linear = walker.network.get_submodule(name.removesuffix(".weight"))
    linear.weight.copy_(torch.ones(linear.weight.shape))
    linear.bias.zero_()
    x = torch.ones(1, linear.in_features, dtype=torch.bfloat16)
    assert (linear(x) == linear.in_features).all()
    assert walker.decoding.decoder.encoder.conv1.weight.is_meta
    assert not walker.decoding.decoder.decoder.conv1.weight.is_meta


def test_one_that_does_not_start(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hyworld.parallel.hired.ENGINE", "no.engine")
    with pytest.raises(RankLostError, match="Process 2 of the 2 that share this walk did not start: see the log"):
        Hired(("cpu", "cpu"))
    assert not torch.distributed.is_initialized()


LEADER = """
from hyworld.parallel.hired import Hired
hired = Hired(("cpu", "cpu"))
print(hired._processes[0].pid, flush=True)
input()
"""


@pytest.mark.slow
def test_they_end_with_a_leader_that_is_killed():
    leader = subprocess.Popen(
        [sys.executable, "-c", LEADER],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    worker = int(leader.stdout.readline())
    os.kill(worker, 0)
    leader.kill()
    leader.wait()
    until = time.monotonic() + 5
    while Path(f"/proc/{worker}/cmdline").exists() and Path(f"/proc/{worker}/cmdline").read_bytes():
        assert time.monotonic() < until
        time.sleep(0.05)
