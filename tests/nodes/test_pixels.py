"""Pictures between the host's IMAGE and the engine's forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor


@pytest.fixture
def pixels(pack: Callable[[str], Any]) -> Any:
    return pack("nodes.pixels")


def every_value() -> Tensor:
    """Two uint8 frames of 8x16 pixels that hold each of the 256 values in each channel."""
    values = torch.arange(256, dtype=torch.uint8).view(2, 8, 16)
    return torch.stack((values, values.flip(0), values.flip(2)), dim=-1)


def test_every_value_survives_the_way_through_the_host(pixels: Any) -> None:
    frames = every_value()
    image = pixels.frames_to_image(frames)
    assert image.dtype == torch.float32
    assert image.shape == (2, 8, 16, 3)
    assert (image.min(), image.max()) == (0, 1)
    for frame, seen in zip(frames, image, strict=True):
        picture = pixels.to_picture(seen)
        assert (picture.mode, picture.size) == ("RGB", (16, 8))
        assert np.array_equal(np.array(picture), frame.numpy())
        assert torch.equal(pixels.picture_to_image(picture), seen[None])


def test_a_frame_is_rounded_to_the_nearest_value(pixels: Any) -> None:
    frame = torch.tensor([0.4, 0.6, 100.4, 100.6, 254.4, 254.6]).view(1, 2, 3) / 255
    assert np.array(pixels.to_picture(frame)).ravel().tolist() == [0, 1, 100, 101, 254, 255]


def test_a_frame_beyond_its_range_is_cut_off(pixels: Any) -> None:
    frame = torch.tensor([-0.5, 0.5, 1.5]).view(1, 1, 3)
    assert np.array(pixels.to_picture(frame)).ravel().tolist() == [0, 128, 255]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_frame_of_few_digits_is_rounded_once(pixels: Any, dtype: torch.dtype) -> None:
    frame = torch.rand(8, 16, 3).to(dtype)
    assert np.array_equal(np.array(pixels.to_picture(frame)), np.array(pixels.to_picture(frame.float())))


def test_transparency_is_dropped(pixels: Any) -> None:
    frame = pixels.frames_to_image(every_value())[0]
    clear = torch.cat((frame, torch.zeros(8, 16, 1)), dim=-1)
    assert np.array_equal(np.array(pixels.to_picture(clear)), np.array(pixels.to_picture(frame)))


def test_a_video_of_the_engine_becomes_an_image(pixels: Any) -> None:
    video = torch.rand(3, 2, 4, 6) * 2 - 1
    image = pixels.to_image(video)
    assert image.shape == (2, 4, 6, 3)
    for channel in range(3):
        torch.testing.assert_close(image[..., channel], (video[channel] + 1) / 2)


def test_a_video_beyond_its_range_is_cut_off(pixels: Any) -> None:
    video = torch.tensor([-1.5, 0.0, 1.5]).view(3, 1, 1, 1)
    assert pixels.to_image(video).ravel().tolist() == [0.0, 0.5, 1.0]


def test_a_bf16_video_becomes_a_float_image(pixels: Any) -> None:
    assert pixels.to_image(torch.zeros(3, 1, 2, 2, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [("RGBA", (10, 20, 30, 0), (10, 20, 30)), ("L", 40, (40, 40, 40)), ("1", 1, (255, 255, 255))],
)
def test_pictures_of_any_mode_become_rgb(pixels: Any, mode: str, colour: Any, seen: tuple[int, ...]) -> None:
    image = pixels.picture_to_image(Image.new(mode, (5, 3), colour))
    assert image.shape == (1, 3, 5, 3)
    assert torch.equal(image, (torch.tensor(seen) / 255).expand(1, 3, 5, 3))
