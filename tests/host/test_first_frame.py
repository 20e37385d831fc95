"""Encode First Frame on a real server: sizes by name, the part that is kept, the picture of a batch."""

from __future__ import annotations

import numpy as np
import pytest

from .client import Client, Prompt
from .conftest import street_picture
from .results import Frames, frames
from .walks import changed, node, walk

pytestmark = pytest.mark.host

STREET = np.asarray(street_picture())


def encoded(**inputs: object) -> Prompt:
    """Encode First Frame, and what it made of the picture."""
    prompt = {name: walk()[name] for name in ("world", "picture", "first")}
    prompt["cropped"] = node("PreviewImage", images=["first", 1])  # a node whose result is wanted
    return changed(prompt, "first", **inputs)


def cropped(client: Client, prompt: Prompt) -> Frames:
    run = client.run(prompt)
    assert run.status == "success", run.error
    (picture,) = frames(client, run, "cropped")
    assert run.outputs["first"]["text"] == [f"{picture.shape[1]}x{picture.shape[0]}"], "the node says the size"
    return picture


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ("width and height", (64, 96)),
        ("288x160 (built-in world)", (160, 288)),
        ("480x832", (832, 480)),
        # Of 400x240 pixels, at about the 46080 pixels of the built-in world.
        ("the picture's own shape", (160, 256)),
    ],
)
def test_a_size_by_name(client: Client, size: str, shape: tuple[int, int]) -> None:
    # A width that is wrong does not matter where it is not used.
    width = 96 if size == "width and height" else 100
    assert cropped(client, encoded(size=size, width=width)).shape == (*shape, 3)


def test_the_part_that_is_kept(client: Client) -> None:
    parts = {crop: cropped(client, encoded(crop=crop)).astype(int) for crop in ("center", "left", "right")}
    # The picture is red to the right and 400x240: filling 96x64, it is 106 wide.
    red = {crop: part[..., 0].mean() for crop, part in parts.items()}
    assert red["left"] < red["center"] - 5 < red["right"] - 10
    np.testing.assert_array_equal(parts["center"], cropped(client, encoded()))


@pytest.mark.parametrize("by_video", [False, True], ids=["batch", "video"])
def test_a_walk_can_begin_with_the_last_picture(client: Client, by_video: bool) -> None:
    prompt = encoded(image=["both", 0])
    prompt["flipped"] = node("ImageInvert", image=["picture", 0])
    prompt["both"] = node("ImageBatch", image1=["picture", 0], image2=["flipped", 0])
    if by_video:
        prompt["video"] = node("CreateVideo", images=["both", 0], fps=16.0)
        prompt["parts"] = node("GetVideoComponents", video=["video", 0])
        prompt = changed(prompt, "first", image=["parts", 0])
    first = cropped(client, prompt)
    last = cropped(client, changed(prompt, "first", frame="last"))
    np.testing.assert_array_equal(first, cropped(client, encoded()))
    assert np.abs(first.astype(int) + last - 255).max() <= 3
