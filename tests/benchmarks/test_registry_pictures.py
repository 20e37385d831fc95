"""The registry's pictures are what their script draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.registry_pictures import COLUMN, COURT, ORANGE, draw_view, smooth

IMAGES = Path(__file__).parents[2] / "docs" / "images"


def test_the_icon_is_as_drawn() -> None:
    drawn = draw_view(COLUMN, (100, 100))
    with Image.open(IMAGES / "icon.png") as icon:
        shipped = icon.convert("RGB").resize(drawn.size, Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(drawn, float) - np.asarray(shipped)).mean() < 3


def test_the_banner_is_as_drawn_beside_its_title() -> None:
    drawn = np.asarray(draw_view(COURT, (210, 90)), float)
    with Image.open(IMAGES / "banner.png") as banner:
        shipped = np.asarray(banner.convert("RGB").resize((210, 90), Image.Resampling.LANCZOS), float)
    assert np.abs(drawn - shipped)[:, :120].mean() < 3
    assert (shipped[30:60, 130:].min(axis=-1) > 230).any(), "no title"


def test_what_stands_in_front_hides_the_walk() -> None:
    pixels = np.asarray(draw_view(COLUMN, (100, 100)), float)
    dots = np.abs(pixels - ORANGE).max(axis=-1) < 60
    assert dots[70:, 15:40].any(), "no dots on the floor"
    assert not dots[:60].any(), "dots above the floor"


def test_a_curve_goes_through_its_points_at_equal_steps() -> None:
    curve = smooth(((0, 0), (1, 1), (2, 0)), every=0.01)
    steps = np.linalg.norm(np.diff(curve, axis=0), axis=1)
    np.testing.assert_allclose(steps, 0.01, rtol=0.02)
    assert np.linalg.norm(curve - (1, 1), axis=1).min() < 0.01
