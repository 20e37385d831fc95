"""What training runs is what a rollout runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hyworld.camera import Trajectory
from hyworld.dit import PLAIN, WanDiT
from hyworld.dit.rope import rope_table
from hyworld.walk import Walker
from hyworld.weights.random import randomise
from training.tiny_world.batched import Sample, compiled_twin, denoise, joint_flow, timesteps, walk
from training.tiny_world.kernels import TRAINING
from training.tiny_world.sizes import DIT, LATENT_SIZE, Z_DIM

PATH = Trajectory.from_tokens("w-4, right-9, w+a-4, left-6")


@pytest.fixture(scope="module")
def network() -> WanDiT:
    return randomise(WanDiT(replace(DIT, num_layers=3)), 5)


def _sample(remembered: int, held: int = 0) -> Sample:
    generator = torch.Generator().manual_seed(remembered)
    frames = slice(0, remembered + 4)
    return Sample(
        memory=torch.randn(2, Z_DIM, remembered, *LATENT_SIZE, generator=generator),
        target=torch.randn(2, Z_DIM, 4, *LATENT_SIZE, generator=generator),
        viewmats=torch.tensor(PATH.viewmats[frames]).float().expand(2, -1, -1, -1),
        labels=torch.tensor(PATH.labels[frames]).expand(2, -1),
        held=held,
    )


@pytest.mark.parametrize("remembered", [0, 4, 16])
def test_one_differentiable_forward_is_prefill_and_denoising(network: WanDiT, remembered: int) -> None:
    sample = _sample(remembered, held=int(remembered == 0))
    course = denoise(network, sample, torch.randn(2, Z_DIM, 4, *LATENT_SIZE))
    step = 2
    sigma, timestep = timesteps(torch.tensor([step, step]), sample.held)
    flow = joint_flow(network, sample, course[step], timestep)
    moved = course[step] + (0.7272728 - sigma[0]) * flow
    assert (moved - course[step + 1])[:, :, sample.held :].abs().max() < 1e-4
    assert (flow * sigma[0])[:, :, sample.held :].abs().max() > 0.1, "the flow is too small to tell"


def test_a_batched_walk_is_the_walkers(network: WanDiT) -> None:
    first = torch.randn(1, Z_DIM, 1, *LATENT_SIZE, generator=torch.Generator().manual_seed(1))
    together = walk(network, first.expand(2, -1, -1, -1, -1), PATH, [3, 4])
    walker = Walker(network)
    world = walker.begin(torch.zeros(1, 64, DIT.text_dim), first_frame=first, seed=4)
    for chunk in walker.walk(world, PATH):
        ours = together[1:, :, 4 * chunk.index : 4 * chunk.index + 4]
        assert (ours - chunk.latents).abs().max() < 2e-3 * chunk.latents.abs().max()


def test_the_loss_reaches_through_the_memory(network: WanDiT) -> None:
    """Gradients reach the memory from the chunk, so what the prefill keeps is trained too."""
    sample = _sample(4)
    sample.memory.requires_grad_(True)
    _, timestep = timesteps(torch.tensor([0, 3]), 0)
    joint_flow(network, sample, torch.zeros_like(sample.target), timestep).square().sum().backward()
    assert sample.memory.grad is not None
    assert sample.memory.grad.abs().max() > 0


def test_the_training_kernels_are_the_plain_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 5, 64, generator=generator)
    matrix = torch.randn(2, 3, 4, 4, generator=generator)
    twice = matrix.repeat(2, 1, 1, 1)
    for kind in ((torch.nn.RMSNorm(64), rope_table(32, 0, 3, 1, 5)), (None, None)):
        ours = TRAINING.branches(x, 2, *kind, matrix)
        assert torch.allclose(ours, PLAIN.branches(x, 2, *kind, matrix), atol=1e-5)
        assert torch.allclose(TRAINING.project(ours, twice), PLAIN.project(ours, twice), atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(TRAINING.branches(x, 2, None, None, matrix), ours)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("backend", "device"), [("aot_eager", "cpu"), pytest.param("inductor", "cuda", marks=pytest.mark.gpu)]
)
def test_compiled_blocks_do_what_the_plain_ones_do(backend: str, device: str) -> None:
    if not torch.cuda.is_available() and device == "cuda":
        pytest.skip("no CUDA GPU")
    network = randomise(WanDiT(replace(DIT, num_layers=2)), 3).to(device).requires_grad_(True)
    twin = compiled_twin(network, backend=backend)
    sample = _sample(4)
    sample = replace(sample, **{f: getattr(sample, f).to(device) for f in ("memory", "target", "viewmats", "labels")})
    noise = torch.randn_like(sample.target)
    results = []
    for each in (network, twin):
        network.zero_grad()
        made = denoise(each, sample, noise)[-1]
        flow = joint_flow(each, sample, noise, torch.full((2, 4), 800.0, device=device))
        (made.square().mean() + flow.square().mean()).backward()
        slopes = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        results.append((made.detach(), flow.detach(), slopes))
    for plain, compiled in zip(*results, strict=True):
        assert (plain - compiled).norm() < 1e-4 * plain.norm()
