"""The map: the right size, markers in the right places, memory only when asked for."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image

from hyworld.camera import Trajectory, draw_top_down, topdown

LEGEND_HEIGHT = 60


def centre_of(image: Image.Image, colour: tuple[int, int, int]) -> tuple[float, float] | None:
    """Mean x and y of the pixels of a colour above the legend; None without any."""
    pixels = np.asarray(image.convert("RGB")).astype(int)[:-LEGEND_HEIGHT]
    y, x = np.nonzero(np.abs(pixels - colour).max(axis=-1) < 24)
    return (float(x.mean()), float(y.mean())) if len(x) else None


def ends(tokens: str) -> tuple[tuple[float, float], tuple[float, float]]:
    image = draw_top_down(Trajectory.from_tokens(tokens))
    start, end = centre_of(image, topdown.START), centre_of(image, topdown.END)
    assert start is not None
    assert end is not None
    return start, end


@pytest.mark.parametrize(("tokens", "dx", "dy"), [("w-15", 0, -1), ("s-15", 0, 1), ("d-15", 1, 0), ("a-15", -1, 0)])
def test_x_is_right_and_z_is_up(tokens: str, dx: int, dy: int) -> None:
    (x0, y0), (x1, y1) = ends(tokens)
    along, across = (x1 - x0, y1 - y0) if dx else (y1 - y0, x1 - x0)
    assert along * (dx or dy) > 250
    assert abs(across) < 3


def test_equal_lengths_are_drawn_equal() -> None:
    (x0, y0), (x1, y1) = ends("w-12, d-12")
    assert x1 - x0 == pytest.approx(y0 - y1, rel=0.02)


def test_a_pure_rotation_shows_a_fan_around_one_place() -> None:
    (x0, y0), (x1, y1) = ends("right-60")
    assert (x0, y0) == pytest.approx((x1, y1), abs=2)
    # It turned from up over right to down: there are cones to the right of the camera and none to the left.
    pixels = np.asarray(draw_top_down(Trajectory.from_tokens("right-60")).convert("HSV"))[..., 1].astype(int)
    row, column = round(y0), round(x0)
    assert pixels[row, column + 60 : column + 100].min() > 30
    assert pixels[row, column - 100 : column - 60].max() < 15


def test_a_loop_stays_on_the_map() -> None:
    image = draw_top_down(Trajectory.from_tokens("w-12, right-15, " * 32))
    pixels = np.asarray(image.convert("HSV"))[..., 1]
    border = np.concatenate(
        [pixels[:, :20].ravel(), pixels[:, -20:].ravel(), pixels[:20].ravel(), pixels[-12:].ravel()]
    )
    assert border.max() < 30
    assert pixels.max() > 200


def test_memory_is_drawn_only_when_given() -> None:
    path = Trajectory.from_tokens("w-31")
    plain = draw_top_down(path)
    remembering = draw_top_down(path, memory=[None] * 6 + [range(12)] + [None])
    assert centre_of(plain, topdown.REMEMBERED) is None
    place = centre_of(remembering, topdown.REMEMBERED)
    assert place is not None
    (x, y0), (_, y1) = ends("w-31")
    assert place[0] == pytest.approx(x, abs=3)
    assert place[1] == pytest.approx(y0 + (y1 - y0) * 5.5 / 31, abs=12)


def test_a_chunk_can_be_highlighted() -> None:
    path = Trajectory.from_tokens("w-31")
    difference = np.abs(
        np.asarray(draw_top_down(path)).astype(int) - np.asarray(draw_top_down(path, highlight_chunk=3)).astype(int)
    )[:-LEGEND_HEIGHT]
    rows = np.nonzero(difference.max(axis=(1, 2)) > 60)[0]
    (_, y0), (_, y1) = ends("w-31")
    step = (y1 - y0) / 31
    assert rows.max() == pytest.approx(y0 + 12 * step, abs=8)
    assert rows.min() >= y0 + 15 * step - 50  # the last view cone of the chunk


@pytest.mark.parametrize("size", [(640, 640), (320, 480), (900, 300)])
@pytest.mark.parametrize("tokens", ["w-0.5", "up-31", "w-3", "w+left+up-200"])
def test_any_path_at_any_size(size: tuple[int, int], tokens: str) -> None:
    image = draw_top_down(Trajectory.from_tokens(tokens), size=size)
    assert image.size == size
    assert image.mode == "RGB"
    assert min(image.getpixel((0, size[1] // 2))) >= min(topdown.GRID)
    assert len(image.getcolors(1 << 20) or ()) > 100  # antialiased


def test_a_very_long_path_takes_seconds_at_most() -> None:
    path = Trajectory.from_tokens("w+right-20000")
    begin = time.perf_counter()
    draw_top_down(path)
    assert time.perf_counter() - begin < 10
