"""Whole rollouts on a GPU: recorded or not, interleaved, at other sizes, over buffers full of NaN: always the same."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from hyworld import Progress, RolloutEngine, Trajectory
from hyworld.config import DiTConfig, VAEConfig
from hyworld.dit import WorldPlayDiT
from hyworld.dit.graphs import GraphedNetwork
from hyworld.rollout.handover import HandOver
from hyworld.rollout.schedule import chunk_noise
from hyworld.vae import WanVAE
from hyworld.weights.random import randomise

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"),
]
CONFIG = DiTConfig(num_heads=4, head_dim=64, num_layers=3, ffn_dim=512, latent_channels=6, text_dim=32, freq_dim=64)
VAE_CONFIG = VAEConfig(encoder_dim=8, decoder_dim=32, z_dim=6, latents_mean=(0.0,) * 6, latents_std=(1.0,) * 6)
PATH = Trajectory.from_tokens("w-7, right-12, d-6, left-6")
POINTS = torch.randn(500, 3, generator=torch.Generator().manual_seed(1)) * 3
PROMPTS = [torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
CHUNKS = 8


@pytest.fixture(scope="module")
def model() -> WorldPlayDiT:
    from hyworld.dit import fused

    model = randomise(WorldPlayDiT(CONFIG, device="cuda", dtype=torch.bfloat16), 0, device="cuda")
    model.kernels = fused.kernels()
    return model


@pytest.fixture(scope="module")
def vae() -> WanVAE:
    from hyworld.vae import fused

    vae = randomise(WanVAE(VAE_CONFIG, device="cuda", dtype=torch.bfloat16), 1, device="cuda")
    vae.kernels = fused.kernels()
    return vae


def engine_for(network, *, decoder=None, compact: bool = False) -> RolloutEngine:
    return RolloutEngine(
        network, decoder=decoder, device="cuda", dtype=torch.bfloat16, compact_memory=compact, points=POINTS
    )


def walk(engine: RolloutEngine, *, seed: int = 0, size=(8, 10), text=PROMPTS[0], chunks: int = CHUNKS) -> torch.Tensor:
    engine.start(text, latent_size=size, seed=seed)
    return torch.cat([chunk.latents for chunk in engine.run(PATH, chunks)], dim=2)


@pytest.mark.parametrize("compact", [False, True])
def test_recorded_forwards_are_bit_identical(model: WorldPlayDiT, compact: bool):
    plain = walk(engine_for(model, compact=compact))
    network = GraphedNetwork(model)
    engine = engine_for(network, compact=compact)
    assert torch.equal(walk(engine), plain)
    assert [len(recordings) for recordings in network._recordings.values()] == [2], "a prefill and a step"
    assert torch.equal(walk(engine), plain), "a second walk replays what the first recorded"


def test_noise_that_is_on_the_device_already(model: WorldPlayDiT):
    noise = chunk_noise(3, 0, (1, 6, 4, 8, 10))
    steps = []
    for given in (noise, noise.cuda()):
        engine = engine_for(model)
        engine.start(PROMPTS[0], latent_size=(8, 10))
        steps.append(engine.step(PATH.chunk(0), noise=given).latents)
    assert torch.equal(*steps)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
def test_a_gpu_that_is_not_the_current_one(model: WorldPlayDiT, vae: WanVAE):
    """Triton launches on the current GPU and torch records there, so the engine must make its own the current one."""
    other = torch.device("cuda", 1)
    networks = [(model, vae, torch.device("cuda")), (deepcopy(model).to(other), deepcopy(vae).to(other), other)]
    walks = []
    for network, decoder, device in networks:
        engine = RolloutEngine(
            GraphedNetwork(network), decoder=decoder, device=device, dtype=torch.bfloat16, points=POINTS
        )
        engine.start(PROMPTS[0], latent_size=(8, 10))
        walks.append(torch.cat([chunk.frames for chunk in engine.run(PATH, CHUNKS)]))
    assert torch.equal(*walks)
    assert torch.cuda.current_device() == 0


def test_compact_memory_gives_the_same_numbers(model: WorldPlayDiT):
    assert torch.equal(walk(engine_for(model, compact=True)), walk(engine_for(model)))


def test_two_rollouts_interleaved_on_one_network(model: WorldPlayDiT):
    """Two prompts and seeds in two engines over one recorded network, chunk by chunk in turns."""
    alone = [walk(engine_for(model), seed=seed, text=text) for seed, text in enumerate(PROMPTS)]
    network = GraphedNetwork(model)
    engines = [engine_for(network) for _ in PROMPTS]
    for seed, (engine, text) in enumerate(zip(engines, PROMPTS, strict=True)):
        engine.start(text, latent_size=(8, 10), seed=seed)
    path = PATH.require_chunks(CHUNKS)
    for i in range(CHUNKS):
        for engine in engines:
            engine.step(path.chunk(i))
    for engine, want in zip(engines, alone, strict=True):
        assert torch.equal(engine.state().latents, want)


def test_two_worlds_in_turns_in_one_engine(model: WorldPlayDiT):
    alone = [walk(engine_for(model), seed=seed, text=text) for seed, text in enumerate(PROMPTS)]
    engine = engine_for(GraphedNetwork(model))
    states = []
    for seed, text in enumerate(PROMPTS):
        engine.start(text, latent_size=(8, 10), seed=seed)
        states.append(engine.state())
    path = PATH.require_chunks(CHUNKS)
    for i in range(CHUNKS):
        for which in (0, 1):
            engine.resume(states[which])
            engine.step(path.chunk(i))
            states[which] = engine.state()
    for state, want in zip(states, alone, strict=True):
        assert torch.equal(state.latents, want)


def test_another_size_and_another_prompt_mid_session(model: WorldPlayDiT):
    engine = engine_for(GraphedNetwork(model))
    asked = [((8, 10), PROMPTS[0]), ((12, 16), PROMPTS[0]), ((12, 16), PROMPTS[1]), ((8, 10), PROMPTS[1])]
    for size, text in asked:
        assert torch.equal(walk(engine, size=size, text=text), walk(engine_for(model), size=size, text=text))


@pytest.mark.parametrize("compact", [False, True])
def test_what_older_chunks_left_in_the_buffers_is_never_read(model: WorldPlayDiT, compact: bool):
    want = walk(engine_for(model, compact=compact))
    engine = engine_for(GraphedNetwork(model), compact=compact)
    engine.start(PROMPTS[0], latent_size=(8, 10), seed=0)
    path = PATH.require_chunks(CHUNKS)
    for i in range(CHUNKS):
        memory = engine._kv
        assert memory is not None
        for buffer in (*memory._k, *memory._v, *(memory._scratch or ())):
            buffer.fill_(float("nan"))
        engine.step(path.chunk(i))
    assert torch.equal(engine.state().latents, want)


def test_frames_are_those_of_the_plain_decoder(model: WorldPlayDiT, vae: WanVAE):
    engine = engine_for(model, decoder=vae)
    engine.start(PROMPTS[0], latent_size=(8, 10), seed=0)
    frames = torch.cat([chunk.frames for chunk in engine.run(PATH, 3)])
    with torch.no_grad():
        whole = vae.decode(engine.state().latents.to(torch.bfloat16))
    want = (whole[0].float().permute(1, 2, 3, 0).clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)
    assert torch.equal(frames, want.cpu())


def test_nothing_waits_for_the_device_inside_a_chunk(model: WorldPlayDiT, vae: WanVAE, monkeypatch: pytest.MonkeyPatch):
    """torch raises at any synchronisation between the first forward and the wait for the finished frames."""
    engine = engine_for(model, decoder=vae)
    engine.start(PROMPTS[0], latent_size=(8, 10), seed=0)
    path = PATH.require_chunks(CHUNKS)
    for i in range(CHUNKS - 1):
        engine.step(path.chunk(i))
    watched = []

    def watch(progress: Progress) -> None:
        watched.append(progress.step)
        torch.cuda.set_sync_debug_mode("error")

    def collect(hand_over: HandOver) -> torch.Tensor:
        torch.cuda.set_sync_debug_mode("default")
        watched.append("collected")
        return collect_frames(hand_over)

    collect_frames = HandOver.collect
    monkeypatch.setattr(HandOver, "collect", collect)
    try:
        engine.step(path.chunk(CHUNKS - 1), on_progress=watch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert watched == [0, 1, 2, 3, 4, "collected"]
