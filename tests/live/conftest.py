"""A pipeline that draws noise, and a listener that keeps what it is told and acts when chunks come."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from hyworld import Modes, Pipeline, World, builtin
from hyworld.config import TINY_RANDOM, DiTConfig, VAEConfig, Wan21VAEConfig
from hyworld.dit import WanDiT
from hyworld.live.controls import Held
from hyworld.live.walk import LiveWalk, Made
from hyworld.pipeline import make_walker
from hyworld.vae import Wan22VAE, make_vae
from hyworld.walk.recipe import Recipe, Rolling
from hyworld.walk.recipes import CAUSAL_FORCING_FRAMEWISE, SELF_FORCING
from hyworld.weights.random import randomise

SIZE = (64, 96)
STILL_SIZE = (32, 48)
VAE_CONFIG = VAEConfig(encoder_dim=4, decoder_dim=4, z_dim=24, latents_mean=(0.0,) * 24, latents_std=(1.0,) * 24)


@pytest.fixture(scope="package")
def pipeline() -> Pipeline:
    """The network of tiny-random, with a smaller decoder: that takes most of the time."""
    vae = randomise(Wan22VAE(VAE_CONFIG), 1)
    cpu = torch.device("cpu")
    walker = make_walker(builtin.dit(TINY_RANDOM), vae, vae, Modes(), cpu, torch.float32)
    return Pipeline(walker, vae, SIZE, builtin.text_encoder())


def still_pipeline(recipe: Recipe) -> Pipeline:
    """With a network that follows no camera, and random weights."""
    config = DiTConfig(
        num_heads=2, head_dim=24, num_layers=1, ffn_dim=64, text_dim=64, freq_dim=32, latent_channels=16, cameras=False
    )
    vae = randomise(make_vae(Wan21VAEConfig(encoder_dim=8, decoder_dim=8, num_res_blocks=1)), 1)
    walker = make_walker(
        randomise(WanDiT(config), 0), vae, vae, Modes(), torch.device("cpu"), torch.float32, recipe=recipe
    )
    return Pipeline(walker, vae, STILL_SIZE, builtin.text_encoder())


@pytest.fixture(scope="package")
def still() -> Pipeline:
    """Chunks of three latents, of which two chunks are remembered."""
    return still_pipeline(replace(SELF_FORCING, memory=Rolling(window=9)))


@pytest.fixture(scope="package")
def framewise() -> Pipeline:
    """A latent at a time, with or without a picture."""
    return still_pipeline(replace(CAUSAL_FORCING_FRAMEWISE, memory=Rolling(window=3)))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next chunk is always due."""
    monkeypatch.setattr("hyworld.live.pacing.Pacing.due", lambda pacing, now: now)


def held(*keys: str, **sticks: Any) -> Held:
    return Held(time.monotonic(), keys, **sticks)


class Walk:
    """A live walk on the thread that calls `run`.

    then: what to do after so many chunks made, in all; the walk is stopped after the last of them.
    """

    def __init__(self, pipeline: Pipeline, world: World | None = None, **options: Any) -> None:
        self.start = world or pipeline.start(text="a street", seed=3)
        self.live = LiveWalk(pipeline, self.start, self, **options)
        self.chunks: list[Made] = []
        self.stood: list[tuple[int, Image.Image | None]] = []
        self.work: list[tuple[int, int]] = []
        self.seen: list[tuple[str, int, str]] = []
        self.notes: list[str] = []
        self.then: dict[int, Callable[[], None]] = {}

    def run(self, then: dict[int, Callable[[], None]]) -> World:
        self.then = then
        return self.live.run()

    def made(self, made: Made) -> None:
        self.chunks.append(made)
        self.then.get(len(self.chunks), lambda: None)()
        if len(self.chunks) >= max(self.then):
            self.live.stop()

    def stands(self, chunks: int, picture: Image.Image | None) -> None:
        self.stood.append((chunks, picture))
        if not self.chunks and 0 in self.then:
            self.then[0]()

    def working(self, chunk: int, step: int, steps: int) -> None:
        assert steps == 4
        self.work.append((chunk, step))

    def changed(self) -> None:
        self.seen.append((self.live.state, self.live.world.chunks, self.live.words))

    def note(self, text: str) -> None:
        self.notes.append(text)

    def hold(self, *keys: str, **sticks: Any) -> Callable[[], None]:
        return lambda: self.live.hold(held(*keys, **sticks))
