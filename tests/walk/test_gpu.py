"""Whole walks on a GPU: recorded or not, interleaved, at other sizes, over buffers full of NaN: always the same."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from hyworld import Progress, Trajectory
from hyworld.config import DiTConfig, VAEConfig
from hyworld.dit import WanDiT
from hyworld.dit.graphs import GraphedNetwork
from hyworld.vae import Wan22VAE
from hyworld.walk import Walker
from hyworld.walk.decoding import Decoding
from hyworld.walk.handover import HandOver
from hyworld.walk.recipe import chunk_noise
from hyworld.weights.random import randomise

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"),
]
CONFIG = DiTConfig(num_heads=4, head_dim=64, num_layers=3, ffn_dim=512, latent_channels=6, text_dim=32, freq_dim=64)
VAE_CONFIG = VAEConfig(encoder_dim=8, decoder_dim=32, z_dim=6, latents_mean=(0.0,) * 6, latents_std=(1.0,) * 6)
PATH = Trajectory.from_tokens("w-7, right-12, d-6, left-6")
PARTS = PATH.split(4)
POINTS = torch.randn(500, 3, generator=torch.Generator().manual_seed(1)) * 3
PROMPTS = [torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
CHUNKS = 8


@pytest.fixture(scope="module")
def model() -> WanDiT:
    from hyworld.dit import fused

    model = randomise(WanDiT(CONFIG, device="cuda", dtype=torch.bfloat16), 0, device="cuda")
    model.kernels = fused.kernels()
    return model


@pytest.fixture(scope="module")
def vae() -> Wan22VAE:
    from hyworld.vae import fused

    vae = randomise(Wan22VAE(VAE_CONFIG, device="cuda", dtype=torch.bfloat16), 1, device="cuda")
    vae.kernels = fused.kernels()
    return vae


def walker_for(
    network, *, decoder=None, compact: bool = False, fp8: bool = False, device: str | torch.device = "cuda"
) -> Walker:
    decoding = None if decoder is None else Decoding(decoder, device=device, dtype=torch.bfloat16)
    return Walker(
        network,
        decoding=decoding,
        device=device,
        dtype=torch.bfloat16,
        compact_memory=compact,
        fp8_memory=fp8,
        points=POINTS,
    )


def walk(walker: Walker, *, seed: int = 0, size=(8, 10), text=PROMPTS[0], chunks: int = CHUNKS) -> torch.Tensor:
    world = walker.begin(text, latent_size=size, seed=seed)
    return torch.cat([chunk.latents for chunk in walker.walk(world, PATH, chunks)], dim=2)


@pytest.mark.parametrize("compact", [False, True])
def test_recorded_forwards_are_bit_identical(model: WanDiT, compact: bool):
    plain = walk(walker_for(model, compact=compact))
    network = GraphedNetwork(model)
    walker = walker_for(network, compact=compact)
    assert torch.equal(walk(walker), plain)
    assert [len(recordings) for recordings in network._recordings.values()] == [2], "a prefill and a step"
    assert torch.equal(walk(walker), plain), "a second walk replays what the first recorded"


@pytest.mark.parametrize("compact", [False, True])
def test_recorded_forwards_in_fp8_are_bit_identical(model: WanDiT, compact: bool):
    """Also over buffers full of what older chunks may have left."""
    from hyworld.dit import fused_attention

    in_fp8 = deepcopy(model)
    in_fp8.kernels = model.kernels._replace(fp8=fused_attention.kernels())
    exact = walk(walker_for(model))
    want = walk(walker_for(in_fp8, fp8=True, compact=compact))
    assert 1e-3 < (want - exact).norm() / exact.norm() < 0.2
    walker = walker_for(GraphedNetwork(in_fp8), fp8=True, compact=compact)
    assert torch.equal(walk(walker), want)
    world = walker.begin(PROMPTS[0], latent_size=(8, 10))
    for cameras in PARTS[:CHUNKS]:
        memory = walker._cache.memory(world)
        for buffer in (*memory._k, *memory._v):
            buffer.view(torch.uint8).fill_(0x7E)  # 448, the largest there is
        world = walker.step(world, cameras).world
    assert torch.equal(world.latents, want)


def test_noise_that_is_on_the_device_already(model: WanDiT):
    noise = chunk_noise(3, 0, (1, 6, 4, 8, 10))
    walker = walker_for(model)
    world = walker.begin(PROMPTS[0], latent_size=(8, 10))
    steps = [walker.step(world, PARTS[0], noise=given).latents for given in (noise, noise.cuda())]
    assert torch.equal(*steps)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
def test_a_gpu_that_is_not_the_current_one(model: WanDiT, vae: Wan22VAE):
    """Triton launches on the current GPU and torch records there, so the walker must make its own the current one."""
    other = torch.device("cuda", 1)
    networks = [(model, vae, torch.device("cuda")), (deepcopy(model).to(other), deepcopy(vae).to(other), other)]
    walks = []
    for network, decoder, device in networks:
        walker = walker_for(GraphedNetwork(network), decoder=decoder, device=device)
        world = walker.begin(PROMPTS[0], latent_size=(8, 10))
        walks.append(torch.cat([chunk.frames for chunk in walker.walk(world, PATH, CHUNKS)]))
    assert torch.equal(*walks)
    assert torch.cuda.current_device() == 0


def test_compact_memory_gives_the_same_numbers(model: WanDiT):
    assert torch.equal(walk(walker_for(model, compact=True)), walk(walker_for(model)))


@pytest.mark.parametrize("walkers", [1, 2])
def test_two_worlds_in_turns_on_one_network(model: WanDiT, vae: Wan22VAE, walkers: int):
    """Two prompts and seeds over one recorded network, chunk by chunk in turns, in one walker or in two."""
    alone = [walk(walker_for(model), seed=seed, text=text) for seed, text in enumerate(PROMPTS)]
    network = GraphedNetwork(model)
    own = [walker_for(network, decoder=vae) for _ in range(walkers)] * (3 - walkers)
    worlds = [own[i].begin(text, latent_size=(8, 10), seed=i) for i, text in enumerate(PROMPTS)]
    for cameras in PARTS[:CHUNKS]:
        worlds = [walker.step(world, cameras).world for walker, world in zip(own, worlds, strict=True)]
    for world, want in zip(worlds, alone, strict=True):
        assert torch.equal(world.latents, want)


def test_another_size_and_another_prompt_mid_session(model: WanDiT):
    walker = walker_for(GraphedNetwork(model))
    asked = [((8, 10), PROMPTS[0]), ((12, 16), PROMPTS[0]), ((12, 16), PROMPTS[1]), ((8, 10), PROMPTS[1])]
    for size, text in asked:
        assert torch.equal(walk(walker, size=size, text=text), walk(walker_for(model), size=size, text=text))


@pytest.mark.parametrize("compact", [False, True])
def test_what_older_chunks_left_in_the_buffers_is_never_read(model: WanDiT, compact: bool):
    want = walk(walker_for(model, compact=compact))
    walker = walker_for(GraphedNetwork(model), compact=compact)
    world = walker.begin(PROMPTS[0], latent_size=(8, 10))
    for cameras in PARTS[:CHUNKS]:
        memory = walker._cache.memory(world)
        for buffer in (*memory._k, *memory._v, *(memory._scratch or ())):
            buffer.fill_(float("nan"))
        world = walker.step(world, cameras).world
    assert torch.equal(world.latents, want)


def test_frames_are_those_of_the_plain_decoder(model: WanDiT, vae: Wan22VAE):
    walker = walker_for(model, decoder=vae)
    chunks = list(walker.walk(walker.begin(PROMPTS[0], latent_size=(8, 10)), PATH, 3))
    with torch.no_grad():
        whole = vae.decode(chunks[-1].world.latents.to("cuda", torch.bfloat16))
    want = (whole[0].float().permute(1, 2, 3, 0).clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)
    assert torch.equal(torch.cat([chunk.frames for chunk in chunks]), want.cpu())


def test_kept_worlds_take_no_gpu_memory(model: WanDiT, vae: Wan22VAE):
    """Ten branches of one world, each walked on and kept: only the one walked last has a decoder cache there."""
    walker = walker_for(model, decoder=vae)
    world = next(walker.walk(walker.begin(PROMPTS[0], latent_size=(8, 10)), PATH)).world
    kept, taken = [], []
    for seed in range(10):
        branch = replace(world, seed=seed)
        kept.append(next(walker.walk(branch, "w-4")).world)
        torch.cuda.synchronize()
        taken.append(torch.cuda.memory_allocated())
    assert taken[-1] <= taken[1]
    assert all(step.latents.is_cpu for step in kept[-1].history)


def test_a_cache_made_again_gives_the_same_frames(model: WanDiT, vae: Wan22VAE):
    walker = walker_for(model, decoder=vae)
    long = Trajectory.from_tokens("w-10, right-20, d-10, left-20")
    chunks = list(walker.walk(walker.begin(PROMPTS[0], latent_size=(8, 10)), long, 15))
    assert vae.reach < 4 * 13
    other = walker_for(model, decoder=vae)
    again = list(other.walk(chunks[12].world, iter(long.split(4)[13:15])))
    assert torch.equal(torch.cat([c.frames for c in again]), torch.cat([c.frames for c in chunks[13:]]))


def test_nothing_waits_for_the_device_inside_a_chunk(model: WanDiT, vae: Wan22VAE, monkeypatch: pytest.MonkeyPatch):
    """torch raises at any synchronisation between the first forward and the wait for the finished frames."""
    walker = walker_for(model, decoder=vae)
    world = walker.begin(PROMPTS[0], latent_size=(8, 10))
    parts = PARTS[:CHUNKS]
    for cameras in parts[:-1]:
        world = walker.step(world, cameras).world
    watched = []

    def watch(progress: Progress) -> None:
        watched.append(progress.step)
        torch.cuda.set_sync_debug_mode("error")

    def collect(hand_over: HandOver) -> torch.Tensor:
        torch.cuda.set_sync_debug_mode("default")
        watched.append("collected")
        return collect_all(hand_over)

    collect_all = HandOver.collect
    monkeypatch.setattr(HandOver, "collect", collect)
    try:
        walker.step(world, parts[-1], on_progress=watch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert watched == [0, 1, 2, 3, 4, "collected", "collected"]
