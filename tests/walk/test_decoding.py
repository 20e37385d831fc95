"""Decoder caches: made again where they are gone, in host memory where nobody walks, gone with their world."""

from __future__ import annotations

import gc

import pytest
import torch

from hyworld import Trajectory
from hyworld.config import TinyDecoderConfig, VAEConfig
from hyworld.dit import WorldPlayDiT
from hyworld.vae import StreamingDecoder, TinyDecoder, WanVAE
from hyworld.walk import Step, World
from hyworld.walk.decoding import DecoderCaches, Decoding
from hyworld.weights.random import randomise

from .conftest import PATH, SIZE, TEXT, walker_for

LATENTS = torch.randn(1, 6, 64, *SIZE, generator=torch.Generator().manual_seed(2))


def world_of(chunks: int) -> World:
    path = Trajectory.from_tokens(f"w-{4 * chunks - 1}")
    parts = zip(LATENTS.split(4, dim=2), path.split(4), strict=False)
    return World(TEXT, 0, (6, *SIZE), history=tuple(Step(latents, cameras, ()) for latents, cameras in parts))


@pytest.fixture(scope="module", params=["full", "tiny base", "tiny super"])
def decoder(request: pytest.FixtureRequest, vae: WanVAE) -> StreamingDecoder:
    if request.param == "full":
        return vae
    return randomise(TinyDecoder(TinyDecoderConfig(latent_channels=6, layout=request.param.split()[1])), 3)


def past(decoder: StreamingDecoder, world: World, **options) -> list[torch.Tensor]:
    made = Decoding(decoder, **options)._past(world)
    assert made is not None
    return made


@torch.no_grad()
def test_a_cache_made_from_as_far_back_as_the_decoder_reaches_is_the_cache(decoder: StreamingDecoder):
    chunks = 16
    assert decoder.reach < 4 * (chunks - 2)
    world = world_of(chunks)
    cache = None
    for step in world.history:
        _, cache = decoder.decode_stream(step.latents, cache)
    for at_once in (1, 4):
        for made, kept in zip(past(decoder, world, at_once=at_once), cache, strict=True):
            torch.testing.assert_close(made, kept, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_reach_is_no_longer_than_it_must_be(decoder: StreamingDecoder, monkeypatch: pytest.MonkeyPatch):
    """Half of it leaves a difference, far above rounding."""
    world = world_of(16)
    whole = past(decoder, world)
    monkeypatch.setattr(type(decoder), "reach", decoder.reach // 2)
    short = past(decoder, world)
    assert max((a - b).abs().max() for a, b in zip(short, whole, strict=True)) > 1e-3


def test_the_released_vae_reaches_forty_latents_back():
    assert WanVAE(VAEConfig(), device="meta").reach == 40


def test_a_walk_goes_on_without_a_seam_when_the_cache_is_gone(model: WorldPlayDiT, vae: WanVAE):
    walker = walker_for(model, vae)
    chunks = list(walker.walk(walker.begin(TEXT, latent_size=SIZE), PATH, 6))
    other = walker_for(model, vae)
    for start in (1, 3, 5):
        onwards = list(other.walk(chunks[start - 1].world, iter(PATH.split(4)[start:6])))
        for got, want in zip(onwards, chunks[start:], strict=True):
            assert (got.frames.int() - want.frames.int()).abs().max() <= 1


class Counting(DecoderCaches):
    """Remembers what it could not give."""

    def __init__(self) -> None:
        super().__init__()
        self.missing = 0

    def take(self, step: Step):
        found = super().take(step)
        self.missing += found is None
        return found


def test_a_straight_walk_never_makes_a_cache_again(model: WorldPlayDiT, vae: WanVAE):
    walker = walker_for(model, vae)
    assert walker.decoding is not None
    walker.decoding.caches = caches = Counting()
    world = list(walker.walk(walker.begin(TEXT, latent_size=SIZE), PATH, 3))[-1].world
    assert caches.missing == 0
    caches.park()
    for path in ("w-4", "s-4"):  # two branches from a parked world
        next(walker.walk(world, path))
        assert caches.missing == 0


def test_only_a_few_caches_are_kept_and_none_longer_than_its_world():
    caches = DecoderCaches(parked=2)
    steps = [Step(torch.zeros(1), PATH.chunk(0), ()) for _ in range(4)]
    for i, step in enumerate(steps):
        caches.put(step, (torch.full((2,), float(i)),))
        caches.park()
    assert [caches.take(step) is not None for step in steps] == [False, False, True, True]
    assert caches.take(steps[2]) is not None  # used last now
    caches.put(steps[0], (torch.zeros(2),))
    assert caches.take(steps[2]) is not None, "not pushed out by what makes room for itself"
    assert [caches.take(step) is not None for step in (steps[3], steps[2])] == [False, True]
    caches.put(steps[3], (torch.full((2,), 3.0),))
    caches.park()
    assert caches.take(steps[3])[0].tolist() == [3.0, 3.0]
    del steps[3], step
    gc.collect()
    assert len(caches._parked) == 1


def test_the_cache_of_the_world_being_walked_is_given_away_to_be_used_up():
    caches = DecoderCaches()
    step = Step(torch.zeros(1), PATH.chunk(0), ())
    tensor = torch.zeros(2)
    caches.put(step, (tensor,))
    assert caches.take(step)[0] is tensor
    assert caches.take(step) is None
