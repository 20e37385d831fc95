"""A pipeline that draws noise, and a listener that keeps what it is told and acts when chunks come."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

import hyworld
from hyworld import Pipeline, World
from hyworld.live.controls import Held
from hyworld.live.walk import LiveWalk, Made

SIZE = (64, 96)


@pytest.fixture(scope="package")
def pipeline() -> Pipeline:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return hyworld.load(preset="tiny-random", device="cpu")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that play in no time: the next one is always due."""
    monkeypatch.setattr("hyworld.live.walk.FRAMES_PER_SECOND", 16000)


def held(*keys: str, **sticks: Any) -> Held:
    return Held(time.monotonic(), keys, **sticks)


class Walk:
    """A live walk on the thread that calls `run`.

    then: what to do after so many chunks made, in all; the walk is stopped after the last of them.
    """

    def __init__(self, pipeline: Pipeline, world: World | None = None, **options: Any) -> None:
        self.start = world or pipeline.start(text="a street", seed=3, size=SIZE)
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
