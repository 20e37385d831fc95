"""A map of a camera path from above: x to the right, z (forward at the start) up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..numbering import numbers
from .trajectory import Trajectory

Point = tuple[float, float]
Numbers = NDArray[np.float64]
Colour = tuple[int, int, int]
Memory = Sequence[Sequence[int] | None]
PictureOf = Callable[[int], Image.Image]

PAPER: Colour = (43, 43, 43)
GRID: Colour = (58, 58, 58)
INK: Colour = (236, 236, 236)
QUIET: Colour = (168, 168, 168)
FIRST: Colour = (96, 156, 255)
LAST: Colour = (226, 104, 200)
START: Colour = (64, 208, 120)
END: Colour = (242, 86, 86)
REMEMBERED: Colour = (250, 172, 48)
CURRENT: Colour = (255, 255, 255)

OVERSAMPLING = 3
CONE_DEG = 60.0
LEAST_SPAN = 0.5
"""Scene units the map spans at least."""

MOST_CONES = 24
MOST_NUMBERS = 16

TITLE, TEXT = 23, 20
"""Heights of the letters at 640 pixels: still 12 where a node shows the map 400 pixels wide."""

PICTURE = 128
"""Width of a small picture at 640 pixels."""


def draw_top_down(
    trajectory: Trajectory,
    *,
    size: tuple[int, int] = (640, 640),
    memory: Memory | None = None,
    highlight_chunk: int | None = None,
) -> Image.Image:
    """Draw the path, its view cones, start, end and chunk numbers, which count from 1.

    size: width and height in pixels.
    memory: latents that each chunk remembered; drawn for the highlighted chunk, by default the last that has any.
    highlight_chunk: index of a chunk to draw in bold.
    """
    if memory is not None and highlight_chunk is None:
        highlight_chunk = max((i for i, frames in enumerate(memory) if frames), default=None)
    (drawn,) = draw_chunks(trajectory, memory or (), [highlight_chunk], size=size)
    return drawn


def draw_chunks(
    trajectory: Trajectory,
    memory: Memory,
    chunks: Iterable[int | None],
    *,
    size: tuple[int, int] = (640, 640),
    picture_of: PictureOf | None = None,
) -> Iterator[Image.Image]:
    """The maps of `draw_top_down` with one chunk after another in bold.

    picture_of: a small picture of a latent: then each clip of the memory has its own beside its place, and so has
        the chunk.
    """
    below = _Picture(trajectory, size, room_for_pictures=picture_of is not None)
    below.grid()
    below.cones()
    below.path()
    for chunk in chunks:
        remembered = () if chunk is None or chunk >= len(memory) else memory[chunk] or ()
        picture = below.copy()
        picture.remembered(remembered)
        if chunk is not None:
            picture.current_chunk(chunk)
        picture.ends()
        taken = picture.captions(remembered, chunk)
        if picture_of is not None and chunk is not None:
            taken += picture.pictures(remembered, chunk, picture_of, taken)
        picture.chunk_numbers(taken)
        yield picture.finished()


@dataclass
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: _Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


class _Picture:
    """Oversampled canvas; `at` maps scene units to its pixels."""

    def __init__(self, trajectory: Trajectory, size: tuple[int, int], *, room_for_pictures: bool = False) -> None:
        self.size = size
        self.width, self.height = (side * OVERSAMPLING for side in size)
        self.unit = max(min(self.width, self.height) / 640, 0.7 * OVERSAMPLING)
        """Canvas pixels per pixel of a 640-pixel picture, with a minimum that keeps text readable."""
        self.image = Image.new("RGB", (self.width, self.height), PAPER)
        self.draw = ImageDraw.Draw(self.image, "RGBA")

        self.places = trajectory.c2w[:, [0, 2], 3]
        self.looks = trajectory.c2w[:, [0, 2], 2]
        self.count = len(trajectory)
        self.chunks = trajectory.chunks
        self.chunk_latents = trajectory.chunk_latents

        low, high = self.places.min(axis=0), self.places.max(axis=0)
        self.stands = float((high - low).max()) < LEAST_SPAN / 10
        self.cone = (min(self.width, self.height) / (6 if room_for_pictures else 4)) if self.stands else 44 * self.unit
        top, bottom, side = 80 * self.unit, 92 * self.unit, 24 * self.unit
        reach = (104 if room_for_pictures else 66) * self.unit
        room = np.array([self.width - 2 * side, self.height - top - bottom]) - 2 * reach
        self.scale = float((room.clip(min=40) / np.maximum(high - low, LEAST_SPAN)).min())
        self.middle = (low + high) / 2
        self.centre = np.array([self.width / 2, (top + self.height - bottom) / 2])
        self.points = [self.at(place) for place in self.places]
        self.covering: dict[Point, tuple[Numbers, Numbers, Numbers]] = {}
        """Candidates for boxes of a size, shared by copies."""

    def copy(self) -> _Picture:
        """The same map with what is drawn so far, to draw on."""
        other = copy(self)
        other.image = self.image.copy()
        other.draw = ImageDraw.Draw(other.image, "RGBA")
        return other

    def at(self, place: Numbers) -> Point:
        x, z = (place - self.middle) * self.scale
        return (float(self.centre[0] + x), float(self.centre[1] - z))

    def font(self, size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        return ImageFont.load_default(size=size * self.unit)

    def colour(self, i: int) -> Colour:
        share = i / max(1, self.count - 1)
        r, g, b = (round(a + (z - a) * share) for a, z in zip(FIRST, LAST, strict=True))
        return r, g, b

    def heading(self, i: int) -> tuple[Point, float]:
        """View direction on the map (unit vector in pixels), and how level it is (0..1)."""
        x, z = self.looks[i]
        level = math.hypot(x, z)
        return ((x / level, -z / level) if level > 1e-6 else (0.0, -1.0)), level

    def seen(self, i: int) -> Point:
        """Where a picture of latent `i` belongs: at its place, or, if the camera only turns, where it looks."""
        (x, y), ((dx, dy), level) = self.points[i], self.heading(i)
        reach = self.cone * level if self.stands else 0.0
        return x + reach * dx, y + reach * dy

    def dot(self, point: Point, radius: float, **style: object) -> None:
        x, y = point
        r = radius * self.unit
        self.draw.ellipse((x - r, y - r, x + r, y + r), **style)  # type: ignore[arg-type]

    def polyline(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        self.draw.line(points, fill=colour, width=round(width * self.unit), joint="curve")
        for point in points:
            self.dot(point, width / 2 - 0.3, fill=colour)

    def grid(self) -> None:
        step = _round_length(self.width / self.scale / 8)
        for axis, length in ((0, self.width), (1, self.height)):
            half = length / 2 / self.scale + step
            first = math.ceil((self.middle[axis] - half) / step)
            for k in range(first, math.floor((self.middle[axis] + half * 1.2) / step) + 1):
                place = self.middle.copy()
                place[axis] = k * step
                x, y = self.at(place)
                ends = ((x, 0), (x, self.height)) if axis == 0 else ((0, y), (self.width, y))
                self.draw.line(ends, fill=GRID, width=round(self.unit))

    def cones(self) -> None:
        for i in range(0, self.count, max(1, math.ceil(self.count / MOST_CONES))):
            self.view_cone(i, self.colour(i), opacity=26)

    def view_cone(self, i: int, colour: Colour, opacity: int) -> None:
        """View of latent `i`, shorter the more the camera looks up or down."""
        (dx, dy), level = self.heading(i)
        x, y = self.points[i]
        r = self.cone * level
        ahead = math.degrees(math.atan2(dy, dx))
        box, span = (x - r, y - r, x + r, y + r), (ahead - CONE_DEG / 2, ahead + CONE_DEG / 2)
        self.draw.pieslice(box, *span, fill=(*colour, opacity))
        self.draw.arc(box, *span, fill=(*colour, 90), width=round(self.unit))
        for angle in map(math.radians, span):
            tip = (x + r * math.cos(angle), y + r * math.sin(angle))
            self.draw.line((x, y, *tip), fill=(*colour, 90), width=round(self.unit))

    def path(self) -> None:
        for i in range(self.count - 1):
            self.polyline(self.points[i : i + 2], self.colour(i), 3.5)

    def remembered(self, frames: Sequence[int]) -> None:
        for i in frames:
            self.view_cone(i, REMEMBERED, opacity=36)
        for i in frames:
            self.dot(self.points[i], 6.5, fill=REMEMBERED, outline=PAPER, width=round(1.5 * self.unit))

    def latents_of(self, chunk: int) -> range:
        return range(self.count)[chunk * self.chunk_latents : (chunk + 1) * self.chunk_latents]

    def current_chunk(self, chunk: int) -> None:
        frames = self.latents_of(chunk)
        for i in frames:
            self.view_cone(i, CURRENT, opacity=40)
        self.polyline([self.points[i] for i in frames], CURRENT, 7)

    def ends(self) -> None:
        self.dot(self.points[0], 9, fill=PAPER, outline=START, width=round(4 * self.unit))
        self.dot(self.points[-1], 6, fill=END, outline=PAPER, width=round(1.5 * self.unit))

    def chunk_numbers(self, taken: list[_Box]) -> None:
        """A tick across the path where each chunk begins, numbered where there is room."""
        every = max(1, math.ceil(self.chunks / MOST_NUMBERS))
        font = self.font(TEXT)
        r = 6 * self.unit
        taken = [*taken, *(_Box(x - r, y - r, x + r, y + r) for x, y in self.points)]
        for chunk in range(self.chunks):
            i = chunk * self.chunk_latents
            x, y = self.points[i]
            across, moves = self.across(i)
            if moves and chunk:
                r = 7 * self.unit
                ends = (x - r * across[0], y - r * across[1], x + r * across[0], y + r * across[1])
                self.draw.line(ends, fill=INK, width=round(2 * self.unit))
            if chunk % every:
                continue
            for dx, dy in self.label_offsets(i, across, moves):
                box = self.text_box((x + dx, y + dy), str(chunk + 1), font)
                if not any(box.overlaps(other) for other in taken):
                    taken.append(box)
                    self.draw.text((x + dx, y + dy), str(chunk + 1), fill=INK, font=font, anchor="mm")
                    break

    def across(self, i: int) -> tuple[Point, bool]:
        """Unit vector across the path at latent `i`, in pixels, and whether the path moves there."""
        before, after = self.points[max(0, i - 1)], self.points[min(self.count - 1, i + 1)]
        dx, dy = after[0] - before[0], after[1] - before[1]
        length = math.hypot(dx, dy)
        if length < self.unit:
            return self.heading(i)[0], False
        return (-dy / length, dx / length), True

    def label_offsets(self, i: int, across: Point, moves: bool) -> Iterator[Point]:
        """Places to try for a number, best first: beside a moving path, then beyond the view cone."""
        (hx, hy), level = self.heading(i)
        if moves:
            for r in (22, -22, 30, -30, 38, -38):
                yield r * self.unit * across[0], r * self.unit * across[1]
        beyond = self.cone * level + 15 * self.unit
        yield beyond * hx, beyond * hy

    def text_box(self, middle: Point, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> _Box:
        pad = 3 * self.unit
        left, top, right, bottom = self.draw.textbbox(middle, text, font=font, anchor="mm")
        return _Box(left - pad, top - pad, right + pad, bottom + pad)

    def pictures(self, remembered: Sequence[int], chunk: int, picture_of: PictureOf, taken: list[_Box]) -> list[_Box]:
        """A small picture of the chunk and of each clip it remembered, near their places; returns the boxes filled."""
        own = self.latents_of(chunk)
        framed = []
        boxes: list[_Box] = []
        for clip, colour in ((own, CURRENT), *((clip, REMEMBERED) for clip in _clips(remembered, self.chunk_latents))):
            middle = clip[len(clip) // 2]
            picture, place = picture_of(middle), self.seen(middle)
            width = round(PICTURE * self.unit)
            picture = picture.resize((width, round(width * picture.height / picture.width)), Image.Resampling.BICUBIC)
            box = self.free_box((width, picture.height + 24 * self.unit), place, taken + boxes)
            edge = (min(max(place[0], box.left), box.right), min(max(place[1], box.top), box.bottom))
            self.draw.line((*edge, *place), fill=colour, width=round(1.5 * self.unit))
            boxes.append(box)
            framed.append((picture, box, colour, numbers(clip)))
        for picture, box, colour, label in framed:  # over all lines
            self.framed(picture, box, colour, label)
        return boxes

    def framed(self, picture: Image.Image, box: _Box, colour: Colour, label: str) -> None:
        """A picture with its numbers underneath."""
        u, below = self.unit, box.top + picture.height
        self.draw.rectangle((box.left, box.top, box.right, box.bottom), fill=PAPER)
        self.image.paste(picture, (round(box.left), round(box.top)))
        self.draw.rectangle((box.left, box.top, box.right, below), outline=colour, width=round(2 * u))
        middle = ((box.left + box.right) / 2, below + 13 * u)
        self.draw.text(middle, label, fill=colour, font=self.font(TEXT), anchor="mm")

    def free_box(self, size: Point, place: Point, taken: list[_Box]) -> _Box:
        """Where a box of that size lies near `place`, covers little of the path and nothing that is `taken`."""
        width, height = size
        if size not in self.covering:
            self.covering[size] = self.candidates(width, height)
        x, y, covers = self.covering[size]
        pad = 8 * self.unit
        cost = covers + np.hypot(x + width / 2 - place[0], y + height / 2 - place[1])
        for box in taken:
            wide = np.minimum(x + width + pad, box.right) - np.maximum(x - pad, box.left)
            high = np.minimum(y + height + pad, box.bottom) - np.maximum(y - pad, box.top)
            cost += 20 * width * ((wide > 0) & (high > 0))
        best = int(cost.argmin())
        return _Box(x[best], y[best], x[best] + width, y[best] + height)

    def candidates(self, width: float, height: float) -> tuple[Numbers, Numbers, Numbers]:
        """Left and top of boxes all over the map, and what each costs for the path it covers, in pixels."""
        side, pad = 10 * self.unit, 8 * self.unit
        left = np.linspace(side, self.width - side - width, 28)
        top = np.linspace(side, self.height - side - height, 28)
        x, y = (axis.ravel() for axis in np.meshgrid(left, top))
        drawn = range(0, self.count, max(1, self.count // 256))
        points = np.array([point for i in drawn for point in (self.points[i], self.seen(i))])
        inside = (np.abs(points[:, 0] - x[:, None] - width / 2) < width / 2 + pad) & (
            np.abs(points[:, 1] - y[:, None] - height / 2) < height / 2 + pad
        )
        return x, y, 4 * width * inside.mean(axis=1) + 2 * width * inside.any(axis=1)

    def captions(self, remembered: Sequence[int], highlight: int | None) -> list[_Box]:
        """Titles, axes, scale and legend; returns the boxes they fill."""
        u = self.unit
        length = float(np.linalg.norm(np.diff(self.places, axis=0), axis=1).sum())
        lines = [f"{self.count} latents, {self.chunks} chunk{'s' * (self.chunks != 1)}, {length:.2f} units long"]
        if highlight is not None:
            what = f"latents {numbers(remembered)}" if remembered else "nothing"
            lines.append(f"chunk {highlight + 1} of {self.chunks} remembers {what}")
        for i, line in enumerate(lines):
            self.draw.text((24 * u, (30 + 29 * i) * u), line, fill=INK, font=self.font(TITLE), anchor="lm")
        self.axes((self.width - 64 * u, 122 * u))

        bar = _round_length(self.width / self.scale / 5)
        left, y = 24 * u, self.height - 26 * u
        right = left + bar * self.scale
        self.draw.line((left, y, right, y), fill=INK, width=round(2 * u))
        for x in (left, right):
            self.draw.line((x, y - 5 * u, x, y + 5 * u), fill=INK, width=round(2 * u))
        text = f"{bar:g} unit{'s' * (bar != 1)}"
        self.draw.text((right + 12 * u, y), text, fill=INK, font=self.font(TEXT), anchor="lm")
        self.legend(bool(remembered), highlight)
        corner = _Box(self.width - 76 * u, 0, self.width, 140 * u)
        return [
            _Box(0, 0, self.width, (44 + 29 * (len(lines) - 1)) * u),
            corner,
            _Box(0, self.height - 76 * u, self.width, self.height),
        ]

    def axes(self, origin: Point) -> None:
        x, y = origin
        u, arm = self.unit, 26 * self.unit
        for name, dx, dy in (("x", 1, 0), ("z", 0, -1)):
            tip = (x + dx * arm, y + dy * arm)
            self.draw.line((x, y, *tip), fill=QUIET, width=round(1.5 * u))
            wing = [(tip[0] - 5 * u * (dx - s * dy), tip[1] - 5 * u * (dy - s * dx)) for s in (-0.6, 0.6)]
            self.draw.polygon([(tip[0] + 2 * u * dx, tip[1] + 2 * u * dy), *wing], fill=QUIET)
            place = (tip[0] + 10 * u * dx + 10 * u * abs(dy), tip[1])
            self.draw.text(place, name, fill=QUIET, font=self.font(TEXT), anchor="mm")

    def legend(self, has_memory: bool, highlight: int | None) -> None:
        u, font = self.unit, self.font(TEXT)
        items: list[tuple[str, dict[str, object]]] = [
            ("start", {"radius": 6, "fill": PAPER, "outline": START, "width": round(3 * u)}),
            ("end", {"radius": 6, "fill": END}),
        ]
        if has_memory:
            items.append(("remembered", {"radius": 6, "fill": REMEMBERED}))
        if highlight is not None:
            items.append((f"chunk {highlight + 1}", {"radius": 6, "fill": CURRENT}))
        x, y = 24 * u, self.height - 60 * u
        for text, style in items:
            self.dot((x + 6 * u, y), **style)  # type: ignore[arg-type]
            self.draw.text((x + 18 * u, y), text, fill=INK, font=font, anchor="lm")
            x += self.draw.textlength(text, font=font) + 38 * u

    def finished(self) -> Image.Image:
        return self.image.reduce(OVERSAMPLING)


def _clips(frames: Sequence[int], length: int) -> list[Sequence[int]]:
    """Memory as it was chosen, in clips of a chunk's length."""
    return [frames[i : i + length] for i in range(0, len(frames), length)]


def _round_length(length: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is at most `length`."""
    power = 10.0 ** math.floor(math.log10(length))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= length * (1 + 1e-9))
