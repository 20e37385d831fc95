"""Decoder caches: made again where they are gone, in host memory where nobody walks, gone with their world."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from hyworld import Trajectory
from hyworld.config import TinyDecoderConfig, VAEConfig
from hyworld.dit import WanDiT
from hyworld.fp8 import FP8
from hyworld.vae import StreamingDecoder, TinyDecoder, Wan22VAE
from hyworld.walk import Step, Walker, World
from hyworld.walk.decoding import DecoderCaches, Decoding
from hyworld.weights.random import randomise

from .conftest import PARTS, PATH, POINTS, SIZE, TEXT, walker_for

LATENTS = torch.randn(1, 6, 64, *SIZE, generator=torch.Generator().manual_seed(2))


def world_of(chunks: int) -> World:
    path = Trajectory.from_tokens(f"w-{4 * chunks - 1}")
    parts = zip(LATENTS.split(4, dim=2), path.split(4), strict=False)
    return World(TEXT, 0, (6, *SIZE), history=tuple(Step(latents, cameras, ()) for latents, cameras in parts))


@pytest.fixture(scope="module", params=["full", "tiny base", "tiny super", "tiny small"])
def decoder(request: pytest.FixtureRequest, vae: Wan22VAE) -> StreamingDecoder:
    if request.param == "full":
        return vae
    sizes = TinyDecoderConfig(latent_channels=6, layout=request.param.split()[1], widths=(24, 16, 16, 8))
    return randomise(TinyDecoder(sizes), 3)


def made_again(decoder: StreamingDecoder, world: World, **options) -> tuple[torch.Tensor, ...]:
    return Decoding(decoder, **options)._made_again(world)


@torch.no_grad()
def test_a_cache_made_from_as_far_back_as_the_decoder_reaches_is_the_cache(decoder: StreamingDecoder):
    chunks = 16
    assert decoder.reach < 4 * (chunks - 2)
    world = world_of(chunks)
    cache = None
    for step in world.history:
        _, cache = decoder.decode_stream(step.latents, cache)
    for at_once in (1, 4):
        for made, kept in zip(made_again(decoder, world, at_once=at_once), cache, strict=True):
            torch.testing.assert_close(made, kept, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_reach_is_no_longer_than_it_must_be(decoder: StreamingDecoder, monkeypatch: pytest.MonkeyPatch):
    """Half of it leaves a difference, far above rounding."""
    world = world_of(16)
    whole = made_again(decoder, world)
    monkeypatch.setattr(type(decoder), "reach", decoder.reach // 2)
    short = made_again(decoder, world)
    assert max((a - b).abs().max() for a, b in zip(short, whole, strict=True)) > 1e-3


def test_the_released_vae_reaches_forty_latents_back():
    assert Wan22VAE(VAEConfig(), device="meta").reach == 40


def test_a_walk_goes_on_without_a_seam_when_the_cache_is_gone(model: WanDiT, vae: Wan22VAE):
    walker = walker_for(model, vae)
    chunks = list(walker.walk(walker.begin(TEXT, latent_size=SIZE), PATH, 6))
    other = walker_for(model, vae)
    for start in (1, 3, 5):
        onwards = list(other.walk(chunks[start - 1].world, iter(PARTS[start:6])))
        for got, want in zip(onwards, chunks[start:], strict=True):
            assert (got.frames.int() - want.frames.int()).abs().max() <= 1


@pytest.fixture
def rebuilt(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Chunks of the worlds whose cache was made again."""
    made: list[int] = []
    again = Decoding._made_again

    def counted(self: Decoding, world: World) -> tuple[torch.Tensor, ...]:
        made.append(world.chunks)
        return again(self, world)

    monkeypatch.setattr(Decoding, "_made_again", counted)
    return made


def test_a_cache_is_made_again_only_where_it_must(model: WanDiT, vae: Wan22VAE, rebuilt: list[int]):
    walker = walker_for(model, vae)
    chunks = list(walker.walk(walker.begin(TEXT, latent_size=SIZE), PATH, 4))
    last = chunks[-1].world
    assert rebuilt == [], "a straight walk"
    walker.decoding.caches.park()  # as a node does when it is done
    for path in ("w-4", "s-4", "a-4"):
        next(walker.walk(last, path))
    assert rebuilt == [], "branches of a parked world"
    for path in ("w-4", "s-4", "a-4"):
        next(walker.walk(last.at_chunk(2), path))
    assert rebuilt == [2], "branches of an earlier one"


def test_an_interrupt_in_the_steps_keeps_the_cache(model: WanDiT, vae: Wan22VAE, rebuilt: list[int]):
    walker = walker_for(model, vae)
    world = next(walker.walk(walker.begin(TEXT, latent_size=SIZE), PATH)).world

    def stop(progress: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(walker.walk(world, "w-4", on_progress=stop))
    next(walker.walk(world, "w-4"))
    assert rebuilt == []


def test_caches_are_used_up_as_they_are_replaced(model: WanDiT, vae: Wan22VAE, monkeypatch: pytest.MonkeyPatch):
    """Else a second one, of gigabytes, would be on the device."""
    decode = Wan22VAE.decode_stream
    left: list[int] = []

    def watched(self: Wan22VAE, latents: torch.Tensor, cache: list | None = None):
        given = [weakref.ref(tensor) for tensor in cache or ()]
        result = decode(self, latents, cache)
        left.append(sum(tensor() is not None for tensor in given))
        return result

    monkeypatch.setattr(Wan22VAE, "decode_stream", watched)
    walker = Walker(model, decoding=Decoding(vae, at_once=1), points=POINTS)
    world = list(walker.walk(walker.begin(TEXT, latent_size=SIZE), PATH, 3))[-1].world
    Decoding(vae, at_once=1)._made_again(world)
    vae.decode(world.latents)
    assert len(left) == 3 * 4 + 3 * 4 + 12
    assert sum(left) == 0


def test_only_a_few_caches_are_kept_and_the_last_used_go_last():
    caches = DecoderCaches(parked=2)
    steps = [Step(torch.zeros(1), PARTS[0], ()) for _ in range(4)]
    for i, step in enumerate(steps):
        caches.put(step, (torch.full((2,), float(i)),))
    assert caches.take(steps[2]) is None, "only the last one is being walked"
    caches.park()
    assert [caches.parked(step) is not None for step in steps] == [False, False, True, True]
    caches.park_copy(steps[2], caches.parked(steps[2]))
    caches.park_copy(steps[0], (torch.zeros(2),))
    assert [caches.parked(step) is not None for step in steps] == [True, False, True, False]
    assert caches.parked(steps[2])[0].tolist() == [2.0, 2.0]
    none = DecoderCaches(parked=0)
    none.put(steps[0], (torch.zeros(2),))
    none.park()
    assert none.parked(steps[0]) is None


def test_no_cache_outlives_its_world_or_its_walker():
    """At once, without the garbage collector: it may be gigabytes."""
    gc.collect()
    gc.disable()
    try:
        caches, steps = DecoderCaches(), [Step(torch.zeros(1), PARTS[0], ()) for _ in range(3)]
        tensors = [torch.zeros(2) for _ in steps]
        watched = [weakref.ref(tensor) for tensor in tensors]
        for step in steps:
            caches.put(step, (tensors.pop(0),))
        del steps[2], step
        assert [tensor() is None for tensor in watched] == [False, False, True]
        del steps[0]
        assert [tensor() is None for tensor in watched] == [True, False, True]
        del caches
        assert [tensor() is None for tensor in watched] == [True, True, True]
    finally:
        gc.enable()


def test_a_kept_cache_comes_in_the_precision_of_the_decoder(model: WanDiT, vae: Wan22VAE):
    walker = walker_for(model, vae)
    world = next(walker.walk(walker.begin(TEXT, latent_size=SIZE), PATH)).world
    half = Decoding(vae, dtype=torch.bfloat16, caches=walker.decoding.caches)
    half.prepare(world)
    assert {tensor.dtype for tensor in half.caches.take(world.history[-1])} == {torch.bfloat16}


def test_what_a_decoder_keeps_in_fp8_comes_so(vae: Wan22VAE):
    world, caches = world_of(1), DecoderCaches()
    step = world.history[-1]
    caches.put(step, (torch.ones(2).to(FP8), torch.ones(2)))
    Decoding(vae, dtype=torch.bfloat16, caches=caches).prepare(world)
    assert [tensor.dtype for tensor in caches.take(step)] == [FP8, torch.bfloat16]
