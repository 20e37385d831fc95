"""Icon and banner for the registry: courtyards of the built-in world's kind, with a walk drawn on their floors.

Command: `python -m benchmarks.registry_pictures docs/images`, which writes `icon.png` and `banner.png`.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hyworld.cli.console import write_whole
from training.tiny_world.scenes import depths, draw_scenes, render
from training.tiny_world.sizes import HELD_OUT_SEED

ICON, BANNER = (400, 400), (1680, 720)
"""Width and height: the registry wants a square of at most 400 pixels, and 21:9."""

FINER = 2
"""Pixels drawn per pixel kept, in both directions."""

LATENT = 0.22
"""Distance between the dots of a walk, in units of the scene."""

STEP = 0.02
"""Distance between the points of a curve."""

WHITE, ORANGE = (255, 255, 255), (245, 159, 0)

Array = NDArray[np.float64]


class View(NamedTuple):
    """A scene by its number after the held-out seed, and the walk through it: right and forward of the camera."""

    scene: int
    walk: tuple[tuple[float, float], ...]
    focal: float


COLUMN = View(3, ((0.0, 0.5), (-0.35, 1.2), (-0.45, 1.9), (0.1, 2.7), (0.9, 2.6)), 0.9)
COURT = View(45, ((0.0, 0.5), (0.5, 1.3), (0.9, 2.2), (0.3, 3.0), (-0.9, 3.2)), 0.9)


def smooth(points: tuple[tuple[float, float], ...], every: float = STEP) -> Array:
    """A curve through the points (Catmull-Rom), as points `[N, 2]` at equal distances."""
    p = np.array([points[0], *points, points[-1]])
    t = np.linspace(0, 1, 50)[:, None]
    pieces = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False)
    ]
    curve = np.concatenate(pieces)
    along = np.concatenate(([0], np.linalg.norm(np.diff(curve, axis=0), axis=1).cumsum()))
    places = np.arange(0, along[-1], every)
    return np.stack([np.interp(places, along, curve[:, i]) for i in range(2)], axis=1)


def draw_view(view: View, size: tuple[int, int]) -> Image.Image:
    """The scene with the walk as a band on the floor and its latents as dots; what stands in front hides them."""
    width, height = (side * FINER for side in size)
    scene = draw_scenes([HELD_OUT_SEED + view.scene])
    focal = (view.focal * height / width, view.focal)
    pose = scene.start[:, None]
    picture = render(scene, pose, focal, (height, width))[0, :, 0].permute(1, 2, 0)
    pixels = picture.add(1).mul(127.5).numpy().astype(np.float64)

    x = (2 * (np.arange(width) + 0.5) / width - 1) / (2 * focal[0])
    y = (2 * (np.arange(height) + 0.5) / height - 1) / (2 * focal[1])
    seen = depths(scene, pose, focal, (height, width))[0, 0].numpy()
    floor = float(scene.room[0, 2]) / np.maximum(y, 1e-9)[:, None]
    rows, columns = np.nonzero(np.abs(seen - floor) < 0.01 * floor)
    depth = floor[rows, 0]
    place = np.stack((x[columns] * depth, depth), axis=1)

    curve = smooth(view.walk)
    for points, radius, colour in ((curve, 0.05, WHITE), (curve[:: round(LATENT / STEP)], 0.032, ORANGE)):
        inside = (radius - distances(place, points)) * (width * focal[0]) / depth  # in pixels
        opacity = (inside + 0.5).clip(0, 1)[:, None]
        pixels[rows, columns] += opacity * (np.array(colour) - pixels[rows, columns])
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.LANCZOS)


def distances(places: Array, points: Array) -> Array:
    """From each place to the nearest of the points."""
    nearest = np.full(len(places), np.inf)
    for point in points:
        np.minimum(nearest, np.hypot(*(places - point).T), out=nearest)
    return nearest


def with_title(banner: Image.Image) -> Image.Image:
    """The banner with its title on the wall to the right."""
    pen = ImageDraw.Draw(banner)
    for text, y, size, stroke in (("HY-WorldPlay", 290, 88, 2), ("walk through a generated world", 405, 37, 0)):
        pen.text((1080, y), text, fill=WHITE, font=ImageFont.load_default(size=size), stroke_width=stroke)
    return banner


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the registry's icon and banner.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for name, picture in (("icon", draw_view(COLUMN, ICON)), ("banner", with_title(draw_view(COURT, BANNER)))):
        write_whole(folder / f"{name}.png", partial(picture.save, format="PNG"), overwrite=True)


if __name__ == "__main__":
    main()
