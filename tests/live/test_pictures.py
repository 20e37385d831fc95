"""What a browser gets of a chunk."""

from __future__ import annotations

import io
import json
import math
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from hyworld import Trajectory, World
from hyworld.camera.tokens import Motion
from hyworld.live.controls import LatentInput
from hyworld.live.path import path_of
from hyworld.live.pictures import Pictured, Pictures, encode, pack, picture_message, pictured, thumbnails_message
from hyworld.live.walk import Made
from hyworld.walk import Chunk, Step


def made(index: int = 0, height: int = 64, width: int = 96, frames: int = 16) -> Made:
    """A chunk of flat frames, each brighter than the one before."""
    levels = torch.arange(frames, dtype=torch.uint8).mul(10)[:, None, None, None]
    step = Step(torch.zeros(1, 24, 4, 4, 6), Trajectory.from_tokens("w-1, right-2"), ())
    world = World(torch.zeros(1, 1, 64), 0, (24, 4, 6), history=(step,) * (index + 1))
    given = LatentInput(Motion(), ("w", "left"), 12.3456)
    return Made(
        Chunk(index, levels.expand(frames, height, width, 3), world), (LatentInput(Motion()), *[given] * 3), 0.4
    )


def unpack(message: bytes) -> tuple[dict, list[bytes]]:
    length = int.from_bytes(message[:4], "little")
    header, rest = json.loads(message[4 : 4 + length]), message[4 + length :]
    pictures = []
    for size in [*header["pictures"], *([header["thumbnail"]] if "thumbnail" in header else [])]:
        pictures.append(rest[:size])
        rest = rest[size:]
    assert rest == b""
    return header, pictures


def opened(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)))


def test_a_chunk_message_has_all_frames_in_order_and_what_they_show():
    chunk = pictured(made(3))
    header, pictures = unpack(chunk.message)
    assert (header["type"], header["chunk"], header["format"]) == ("chunk", 3, "jpeg")
    assert [round(float(opened(picture).mean())) for picture in pictures[:-1]] == [10 * n for n in range(16)]
    assert opened(pictures[0]).shape == (64, 96, 3)
    assert opened(pictures[-1]).shape == (107, 160, 3)
    assert header["inputs"] == [{"keys": [], "since": None}] + [{"keys": ["w", "left"], "since": 12345.6}] * 3
    assert header["seconds"] == 0.4
    assert len(header["path"]) == 4
    assert (chunk.index, chunk.last, chunk.thumbnail) == (3, pictures[-2], pictures[-1])


def test_still_pictures_and_thumbnails():
    grey = encode(Image.new("L", (96, 64), 128))
    header, pictures = unpack(picture_message(grey))
    assert (header["type"], opened(pictures[0]).shape) == ("picture", (64, 96, 3))
    header, pictures = unpack(thumbnails_message(5, [grey, grey]))
    assert (header["type"], header["first"], pictures) == ("thumbnails", 5, [grey, grey])
    assert unpack(pack({"type": "é", "pictures": []}))[0]["type"] == "é"


def test_pictures_look_like_the_frames():
    frame = np.asarray(Image.radial_gradient("L").convert("RGB"))
    error = opened(encode(frame)).astype(float) - frame
    assert 10 * math.log10(255**2 / (error**2).mean()) > 40


@pytest.mark.parametrize(
    ("tokens", "place"),
    [
        ("w-2", [0, 0, 0.16, 0, 0]),
        ("d-1", [0.08, 0, 0, 0, 0]),
        ("right-2", [0, 0, 0, math.radians(6), 0]),
        ("up-2", [0, 0, 0, 0, math.radians(6)]),
        ("right-10, down-4, w-1", None),
    ],
)
def test_a_map_gets_places_and_directions(tokens: str, place: list[float] | None):
    path = Trajectory.from_tokens(tokens)
    last = path_of(path)[-1]
    if place is None:
        yaw, pitch = math.radians(30), -math.radians(12)
        looks = np.array([math.sin(yaw) * math.cos(pitch), -math.sin(pitch), math.cos(yaw) * math.cos(pitch)])
        place = [*(0.08 * looks), yaw, pitch]
    assert last == pytest.approx(place, abs=1e-4)


def test_chunks_are_encoded_in_order_on_another_thread():
    ready: list[tuple[Pictured, str]] = []
    pictures = Pictures(lambda chunk: ready.append((chunk, threading.current_thread().name)))
    began = time.perf_counter()
    for index in range(3):
        pictures.add(made(index, 704, 1280))
    took = time.perf_counter() - began
    deadline = time.monotonic() + 20
    while len(ready) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    waited = time.perf_counter() - began
    pictures.close()
    assert [chunk.index for chunk, _ in ready] == [0, 1, 2]
    assert all(name.startswith("pictures") for _, name in ready)
    assert took < waited / 3
    pictures.add(made(3))  # too late, and harmless
    assert len(ready) == 3


def test_closing_drops_what_waits():
    began, go_on, ready = threading.Event(), threading.Event(), []

    def take(chunk: Pictured) -> None:
        ready.append(chunk.index)
        began.set()
        go_on.wait(20)

    pictures = Pictures(take)
    for index in range(3):
        pictures.add(made(index))
    assert began.wait(20)
    closing = threading.Thread(target=pictures.close)
    closing.start()
    time.sleep(0.1)
    go_on.set()
    closing.join(20)
    assert ready == [0]


def test_one_chunk_that_cannot_be_shown_does_not_end_the_others(caplog: pytest.LogCaptureFixture):
    ready = []

    def take(chunk: Pictured) -> None:
        ready.append(chunk.index)
        if chunk.index == 0:
            raise RuntimeError("gone")

    pictures = Pictures(take)
    pictures.add(made(0))
    pictures.add(made(1))
    deadline = time.monotonic() + 20
    while len(ready) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    pictures.close()
    assert ready == [0, 1]
    assert "could not be shown" in caplog.text
