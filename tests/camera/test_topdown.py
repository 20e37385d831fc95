"""The map: the right size, markers in the right places, memory only when asked for."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from hyworld.camera import Trajectory, draw_top_down, topdown

TITLES_HEIGHT = 76
LEGEND_HEIGHT = 76


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
    assert pixels.max() > 150


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
    )[TITLES_HEIGHT:-LEGEND_HEIGHT]
    rows = TITLES_HEIGHT + np.nonzero(difference.max(axis=(1, 2)) > 60)[0]
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
    assert max(image.getpixel((0, size[1] // 2))) <= max(topdown.GRID)
    assert len(image.getcolors(1 << 20) or ()) > 100  # antialiased


def test_a_very_long_path_takes_seconds_at_most() -> None:
    path = Trajectory.from_tokens("w+right-20000")
    begin = time.perf_counter()
    draw_top_down(path)
    assert time.perf_counter() - begin < 10


def texts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """What is written from now on, and its height in pixels of the finished map."""
    written: list[tuple[str, float]] = []
    draw = ImageDraw.ImageDraw.text

    def noted(self: ImageDraw.ImageDraw, xy: object, text: str, **style: Any) -> None:
        written.append((text, style["font"].size / topdown.OVERSAMPLING))
        draw(self, xy, text, **style)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", noted)
    return written


def test_people_read_numbers_from_1(monkeypatch: pytest.MonkeyPatch) -> None:
    written = texts(monkeypatch)
    draw_top_down(Trajectory.from_tokens("w-31"), memory=[()] * 7 + [(0, 1, 2, 3, *range(16, 28))])
    words = [text for text, _ in written]
    assert "chunk 8 of 8 remembers latents 1-4, 17-28" in words
    assert "chunk 8" in words, "in the legend"
    assert {"1", "8"} <= set(words)
    assert "0" not in words


def test_letters_can_be_read_where_a_node_shows_the_map_400_pixels_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    written = texts(monkeypatch)
    draw_top_down(Trajectory.from_tokens("w-31"), memory=[range(4)] * 8)
    assert min(size for _, size in written) * 400 / 640 >= 12


def test_the_map_is_dark_and_its_letters_stand_out() -> None:
    pixels = np.asarray(draw_top_down(Trajectory.from_tokens("w-31")).convert("L"))
    assert np.median(pixels) < 64
    assert pixels.max() > 220


COLOURS = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200)]


@pytest.mark.parametrize("tokens", ["w-31", "right-31", "w-8, right-15, w-8", "w+right-31", "up-31"])
def test_each_remembered_clip_has_its_picture_near_its_place(tokens: str) -> None:
    asked: list[int] = []

    def picture_of(latent: int) -> Image.Image:
        asked.append(latent)
        return Image.new("RGB", (18, 10), COLOURS[len(asked) - 1])

    path = Trajectory.from_tokens(tokens)
    memory = [(0, 1, 2, 3, *range(16, 28))] * 8
    (drawn,) = topdown.draw_chunks(path, memory, [7], picture_of=picture_of)
    assert asked == [30, 2, 18, 22, 26], "the chunk's own, then a latent of each clip"
    pixels = np.asarray(drawn).astype(int)
    height = topdown.PICTURE * 10 / 18
    for colour in COLOURS:
        y, x = np.nonzero(np.abs(pixels - colour).max(axis=-1) < 24)
        assert len(x) > 0.85 * topdown.PICTURE * height, "something lies over a picture"
        assert np.ptp(x) < topdown.PICTURE + 2
        assert np.ptp(y) < height + 2


def test_maps_of_one_walk_are_those_of_single_chunks() -> None:
    path, memory = Trajectory.from_tokens("w-15"), [(), range(4), range(8), range(12)]
    for chunk, drawn in enumerate(topdown.draw_chunks(path, memory, range(4))):
        alone = draw_top_down(path, memory=memory, highlight_chunk=chunk)
        assert drawn.tobytes() == alone.tobytes()
