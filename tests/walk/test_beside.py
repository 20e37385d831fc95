"""A decoder on a device of its own: each chunk is decoded while the next is made, and all else is as it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from hyworld import Trajectory
from hyworld.dit import WanDiT
from hyworld.vae import Wan22VAE
from hyworld.walk import Walker, World
from hyworld.walk.decoding import Decoding

from .conftest import PARTS, PATH, POINTS, SIZE, TEXT

PATIENCE = 20.0
"""Seconds after which a test gives up."""


class Watched:
    """A network or decoder that does something before each call."""

    def __init__(self, part: Any, before: Any) -> None:
        self._part = part
        self._before = before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)

    def decode_stream(self, *args: Any) -> Any:
        self._before()
        return self._part.decode_stream(*args)

    def __call__(self, inputs: Any) -> Any:
        self._before()
        return self._part(inputs)


def beginning(walker: Walker) -> World:
    return walker.begin(TEXT, latent_size=SIZE, seed=4)


def walker_of(network: Any, decoder: Any, *, beside: bool) -> Walker:
    return Walker(network, decoding=Decoding(decoder, beside=beside), points=POINTS)


@torch.inference_mode()
def test_frames_and_worlds_are_the_same(model: WanDiT, vae: Wan22VAE):
    one, other = (walker_of(model, vae, beside=beside) for beside in (False, True))
    walked = [list(walker.walk(beginning(walker), PATH)) for walker in (one, other)]
    for a, b in zip(*walked, strict=True):
        assert a.index == b.index
        assert torch.equal(a.frames, b.frames)
        assert torch.equal(a.latents, b.latents)
    # The caches are those after the last chunk, and a branch finds or makes its own.
    for at in (walked[1][-1].world, walked[1][1].world):
        ways = [list(walker.walk(at, "left-5")) for walker in (one, other)]
        assert all(torch.equal(a.frames, b.frames) for a, b in zip(*ways, strict=True))


def test_a_chunk_is_decoded_while_the_next_is_made(model: WanDiT, vae: Wan22VAE):
    begun, forwards = threading.Event(), iter(range(1000))

    def forward() -> None:
        if next(forwards) == 4:  # the first of the second chunk
            begun.set()

    def decode() -> None:
        assert begun.wait(PATIENCE), "the next chunk waited for the decoder"

    walker = walker_of(Watched(model, forward), Watched(vae, decode), beside=True)
    assert [chunk.index for chunk in walker.walk(beginning(walker), PARTS[:2])] == [0, 1]


def test_what_the_decoder_raises_ends_the_walk(model: WanDiT, vae: Wan22VAE):
    decodes, asked = iter(range(1000)), []

    def decode() -> None:
        if next(decodes) == 1:
            raise RuntimeError("the decoder's GPU is full")

    walker = walker_of(model, Watched(vae, decode), beside=True)
    given: list[int] = []
    with pytest.raises(RuntimeError, match="GPU is full"):
        for chunk in walker.walk(beginning(walker), PATH, on_progress=asked.append):
            given.append(chunk.index)
    assert given == [0]
    assert max(progress.chunk for progress in asked) <= 2


def test_what_was_made_is_given_out_before_an_error(model: WanDiT, vae: Wan22VAE):
    def stop(progress: Any) -> None:
        if (progress.chunk, progress.step) == (2, 2):
            raise KeyboardInterrupt

    walker = walker_of(model, vae, beside=True)
    given: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        for chunk in walker.walk(beginning(walker), PATH, on_progress=stop):
            given.append(chunk.index)
    assert given == [0, 1]


def test_who_chooses_on_the_way_waits_for_no_chunk_more(model: WanDiT, vae: Wan22VAE):
    asked: list[int] = []

    def steered() -> Iterator[Trajectory]:
        for number, part in enumerate(PARTS[:3]):
            asked.append(number)
            yield part

    walker = walker_of(model, vae, beside=True)
    for chunk in walker.walk(beginning(walker), steered()):
        assert asked[-1] == chunk.index
