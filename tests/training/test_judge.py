"""The judge tells rendered walks from others, and its gradients reach the network that made them."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from hyworld.config import DiTConfig
from hyworld.dit import WanDiT
from hyworld.weights.random import randomise
from training.tiny_world import judge, pool
from training.tiny_world.batched import compiled_twin
from training.tiny_world.judge import Judge, Trial, faith_loss, judges_loss, walkers_loss
from training.tiny_world.optimise import Optimiser
from training.tiny_world.paths import draw_walks
from training.tiny_world.pool import LatentPool, sample_of

CPU = torch.device("cpu")
SMALL = DiTConfig(num_heads=2, head_dim=32, num_layers=2, ffn_dim=64, latent_channels=24, text_dim=64, freq_dim=64)
WALKS = torch.arange(4)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "JUDGED_BLOCKS", (0, 1))
    monkeypatch.setattr(pool, "LATENT_SIZE", (4, 4))


@pytest.fixture
def network() -> WanDiT:
    return randomise(WanDiT(SMALL), 3).requires_grad_(True)


@pytest.fixture
def walks() -> LatentPool:
    filled = LatentPool(4, latents=24, device=CPU)
    _, drawn = draw_walks(list(range(4)), 24)
    filled.latents[:] = torch.randn(4, 24, 1, 4, 4)
    filled.viewmats[:] = torch.linalg.inv(drawn.poses)
    filled.labels[:], filled.memory[:], filled.filled = drawn.labels, drawn.memory, 4
    return filled


def gradients(network: WanDiT) -> list[Tensor]:
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]


def test_several_chunks_follow_what_the_first_of_them_remembers(walks: LatentPool) -> None:
    walks.latents[:] = torch.arange(24)[:, None, None]
    sample = sample_of(walks, WALKS, 2, chunks=2)
    assert sample.memory[0, 0, :, 0, 0].tolist() == walks.memory[0, 2, :8].tolist()
    assert sample.target[0, 0, :, 0, 0].tolist() == list(range(8, 16))
    assert torch.equal(sample.viewmats[:, 8:], walks.viewmats[:, 8:16])
    assert torch.equal(sample.labels[:, 8:], walks.labels[:, 8:16])
    assert sample_of(walks, WALKS, 2, chunks=2, reach=0).remembered == 0


@pytest.mark.parametrize("reach", [0, 16])
def test_the_judge_learns_what_is_not_rendered(network: WanDiT, walks: LatentPool, reach: int) -> None:
    sample = sample_of(walks, WALKS, 2, chunks=2, reach=reach)
    blurred = sample.target.mean(dim=(3, 4), keepdim=True).expand_as(sample.target).clone()
    judging = Judge(network)
    optimiser = Optimiser(judging, lr=3e-3, warm_up=1)
    assert judging(sample, blurred).shape == (4, 8, 4, 2)
    for _ in range(30):
        loss, right = judges_loss(judging, sample, sample.target, blurred)
        loss.backward()
        optimiser.step(0.0)
    assert right > 0.95

    shown = blurred.requires_grad_(True)
    before = walkers_loss(judging, sample, sample.target, shown)
    (slope,) = torch.autograd.grad(before, shown)
    with torch.no_grad():
        assert walkers_loss(judging, sample, sample.target, shown - 0.1 * slope / slope.std()) < before


def test_the_network_learns_once_the_judge_has_had_its_steps(network: WanDiT, walks: LatentPool) -> None:
    before = [weights.clone() for weights in network.parameters()]
    trial = Trial(network, walks, lr=1e-3, weight=0.1, alone=2)
    judges = [weights.clone() for weights in trial.judge.parameters()]
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        trial.step(2, generator)
    assert not trial.teaches
    assert not gradients(network)
    for _ in range(2):  # one of each kind
        network.zero_grad()
        walkers, judged, right = trial.step(2, generator)
        assert trial.teaches
        assert torch.isfinite(walkers + judged)
        assert 0 <= right <= 1
        assert all(torch.isfinite(slope).all() for slope in gradients(network))
        assert network.head.head.weight.grad.abs().max() > 0
        assert network.blocks[0].self_attn.q.weight.grad.abs().max() > 0
    assert all(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))
    assert any(not torch.equal(old, new) for old, new in zip(judges, trial.judge.parameters(), strict=True))


def test_followed_walks_go_on_where_they_were_and_begin_anew(network: WanDiT, walks: LatentPool) -> None:
    trial = Trial(network, walks, lr=1e-3, weight=0.1, alone=100)
    begun = []
    for step in range(8):
        trial.step(2, torch.Generator().manual_seed(step))
        if step % 2 == 0:
            assert trial._following is not None
            _, history, done = trial._following
            begun.append(done)
            made = (history - walks.latents[trial._following[0]].float()).abs().amax(dim=(0, 1, 3, 4)) > 0
            assert made.tolist() == [0 < latent < 4 * done for latent in range(24)]  # the first one is given
    assert begun == [2, 4, 6, 2]


def test_faith_pulls_what_is_near_and_leaves_what_is_far() -> None:
    rendered = torch.zeros(1, 2, 1, 1, 2)
    generated = torch.tensor([0.2, 4.0]).expand(1, 2, 1, 1, 2).clone().requires_grad_(True)
    loss = faith_loss(generated, rendered)
    loss.backward()
    near, far = generated.grad[0, 0, 0, 0].tolist()
    assert near > 50 * far > 0
    assert loss.item() == pytest.approx((0.04 / 0.1 + 16 / 16.06) / 2)


@pytest.mark.filterwarnings("ignore")
def test_the_compiled_judge_judges_as_the_plain_one(
    network: WanDiT, walks: LatentPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "compiled_twin", partial(compiled_twin, backend="aot_eager"))
    both = Judge(network, compiled=True)
    sample = sample_of(walks, torch.arange(2), 1, chunks=2, reach=0)
    logits = {}
    for name, memories in (("compiled", (0,)), ("plain", ())):
        monkeypatch.setattr(judge, "COMPILED", memories)
        shown = sample.target.clone().requires_grad_(True)
        judged = both(sample, shown)
        logits[name] = judged.detach(), *torch.autograd.grad(judged.square().sum(), shown)
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(*logits.values(), strict=True))
    assert logits["plain"][1].abs().max() > 1e-3, "no slope to compare"
