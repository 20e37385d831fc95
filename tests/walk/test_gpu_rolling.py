"""Walks over a rolling cache on a GPU: recorded or not, in turns, and without waiting: always the same."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from hyworld import Progress
from hyworld.dit import WanDiT
from hyworld.dit.graphs import GraphedNetwork
from hyworld.walk import Walker, World
from hyworld.walk.handover import HandOver
from hyworld.weights.random import randomise

from . import streaming
from .streaming import NEGATIVE, RAIN, RECIPES, walked

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"),
]
CONFIG = replace(streaming.CONFIG, num_heads=4, head_dim=64, num_layers=3, ffn_dim=512)
SIZE = (8, 10)
WORDS = {3: RAIN}


@pytest.fixture(scope="module")
def models() -> list[WanDiT]:
    from hyworld.dit import fused

    models = [randomise(WanDiT(CONFIG, device="cuda", dtype=torch.bfloat16), seed, device="cuda") for seed in (0, 1)]
    for model in models:
        model.kernels = fused.kernels()
    return models


def walker_for(models: list[WanDiT], name: str, *, recorded: bool = False, fp8: bool = False) -> Walker:
    recipe = RECIPES[name]
    networks = [GraphedNetwork(model) if recorded else model for model in models]
    second = None if recipe.boundary is None else networks[1]
    return Walker(networks[0], second=second, recipe=recipe, device="cuda", dtype=torch.bfloat16, fp8_memory=fp8)


def begun(walker: Walker, seed: int = 0) -> World:
    negative = NEGATIVE if walker.recipe.is_guided else None
    return walker.begin(streaming.TEXT.text, latent_size=SIZE, seed=seed, negative=negative)


@pytest.mark.parametrize("name", ["window", "sink", "rerope", "guided", "guided dual"])
def test_recorded_forwards_are_bit_identical(models: list[WanDiT], name: str):
    plain, recorded = walker_for(models, name), walker_for(models, name, recorded=True)
    want = walked(plain, begun(plain), 8, words=WORDS)
    assert walked(recorded, begun(recorded), 8, words=WORDS) == want
    assert walked(recorded, want.at_chunk(5), 3, words=WORDS) == want, "read again from the beginning"


@pytest.mark.parametrize("name", ["window", "sink", "rerope", "guided dual"])
def test_recorded_forwards_in_fp8_are_bit_identical(models: list[WanDiT], name: str):
    from hyworld.dit import fused_attention

    in_fp8 = deepcopy(models)
    for model in in_fp8:
        model.kernels = model.kernels._replace(fp8=fused_attention.kernels())
    plain, recorded = (walker_for(in_fp8, name, recorded=recorded, fp8=True) for recorded in (False, True))
    want = walked(plain, begun(plain), 8, words=WORDS)
    assert walked(recorded, begun(recorded), 8, words=WORDS) == want
    assert walked(recorded, want.at_chunk(5), 3, words=WORDS) == want, "read again from the beginning"


def test_two_worlds_in_turns(models: list[WanDiT]):
    walker = walker_for(models, "sink", recorded=True)
    worlds = [begun(walker, seed) for seed in (0, 1)]
    alone = [walked(walker_for(models, "sink"), world, 6) for world in worlds]
    for _ in range(6):
        worlds = [walked(walker, world, 1) for world in worlds]
    assert worlds == alone


def test_nothing_waits_for_the_device_inside_a_chunk(models: list[WanDiT], monkeypatch: pytest.MonkeyPatch):
    walker = walker_for(models, "guided dual")
    world = walked(walker, begun(walker), 4)

    def watch(progress: Progress) -> None:
        torch.cuda.set_sync_debug_mode("error")

    def collect(hand_over: HandOver) -> torch.Tensor:
        torch.cuda.set_sync_debug_mode("default")
        return collect_all(hand_over)

    collect_all = HandOver.collect
    monkeypatch.setattr(HandOver, "collect", collect)
    try:
        walker.step(world, on_progress=watch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_walk_takes_as_much_memory_as_it_says(models: list[WanDiT]):
    walker = walker_for(models, "guided")
    before = torch.cuda.memory_allocated()
    world = walked(walker, begun(walker), 3)
    grown = torch.cuda.memory_allocated() - before
    said = walker.bytes_needed(SIZE)[0]
    assert said <= grown < 1.5 * said + 4_000_000
    assert all(step.latents.is_cpu for step in world.history)
