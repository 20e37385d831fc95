"""What a browser gets of a chunk."""

from __future__ import annotations

import dataclasses
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
from hyworld.live.pictures import (
    MOST_WAITING,
    Pictured,
    Pictures,
    encode,
    pack,
    picture_message,
    pictured,
    thumbnails_message,
)
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


def header_of(chunk: Pictured | None) -> int:
    """The index of an encoded chunk."""
    assert chunk is not None
    index: int = unpack(chunk.message)[0]["chunk"]
    return index


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
    assert (chunk.last, chunk.thumbnail) == (pictures[-2], pictures[-1])


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
    ready: list[tuple[int, str]] = []
    go_on = threading.Event()
    pictures = Pictures()

    def take(chunk: Pictured | None) -> None:
        go_on.wait(20)
        ready.append((header_of(chunk), threading.current_thread().name))

    for index in range(3):
        pictures.add(made(index), take)
    assert ready == [], "adding waits for no encoder"
    go_on.set()
    deadline = time.monotonic() + 20
    while len(ready) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    pictures.close()
    assert [chunk for chunk, _ in ready] == [0, 1, 2]
    assert all(name.startswith("pictures") for _, name in ready)
    for _ in range(2 * MOST_WAITING):
        pictures.add(made(3), take)  # too late, and harmless
    assert len(ready) == 3


def test_a_walk_that_is_faster_than_the_encoder_waits_for_it():
    """Pixels that wait are bounded: a chunk of 704x1280 has 43 MB."""
    began, go_on, added = threading.Event(), threading.Event(), []
    pictures = Pictures()

    def take(chunk: Pictured | None) -> None:
        began.set()
        go_on.wait(20)

    def walk() -> None:
        for index in range(MOST_WAITING + 3):
            pictures.add(made(index), take)
            added.append(index)

    walking = threading.Thread(target=walk)
    walking.start()
    assert began.wait(20)
    deadline = time.monotonic() + 20
    while len(added) < MOST_WAITING and time.monotonic() < deadline:
        time.sleep(0.01)
    walking.join(0.2)
    assert len(added) == MOST_WAITING
    go_on.set()
    walking.join(20)
    pictures.close()
    assert len(added) == MOST_WAITING + 3


def test_closing_drops_what_waits():
    began, go_on, ready = threading.Event(), threading.Event(), []

    def take(chunk: Pictured | None) -> None:
        ready.append(header_of(chunk))
        began.set()
        go_on.wait(20)

    pictures = Pictures()
    for index in range(3):
        pictures.add(made(index), take)
    assert began.wait(20)
    closing = threading.Thread(target=pictures.close)
    closing.start()
    closing.join(0.1)
    go_on.set()
    closing.join(20)
    assert ready == [0]


def test_one_chunk_that_cannot_be_shown_does_not_end_the_others(caplog: pytest.LogCaptureFixture):
    ready: list[Pictured | None] = []
    pictures = Pictures()
    bad = made(0)
    frames = torch.zeros(16, 64, 96, 7, dtype=torch.uint8)
    pictures.add(bad._replace(chunk=dataclasses.replace(bad.chunk, frames=frames)), ready.append)
    pictures.add(made(1), ready.append)
    deadline = time.monotonic() + 20
    while len(ready) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    pictures.close()
    assert ready[0] is None
    assert header_of(ready[1]) == 1
    assert "could not be shown" in caplog.text
