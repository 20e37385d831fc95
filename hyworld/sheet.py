"""A contact sheet: small pictures in rows, each with a caption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

PAPER = (43, 43, 43)
INK = (236, 236, 236)
NEWS = (250, 172, 48)

SIDE = 288
"""Pixels of a picture's longer side at most."""

GAP, TEXT = 16, 17
LINE = TEXT + 7
SHAPE = 16 / 10
"""Of the whole sheet, about."""


class Entry(NamedTuple):
    """picture: of any size, the same for all entries; news: a second line, highlighted."""

    picture: Image.Image
    caption: str
    news: str = ""


def small(picture: Image.Image) -> Image.Image:
    """The picture as it is on a sheet."""
    scale = SIDE / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def contact_sheet(entries: Sequence[Entry]) -> Image.Image:
    """Draw one or more entries, row by row."""
    pictures = [small(entry.picture) for entry in entries]
    width, height = pictures[0].size
    lines = 2 if any(entry.news for entry in entries) else 1
    across, down = width + GAP, height + lines * LINE + GAP
    columns = min(len(entries), max(1, round(math.sqrt(len(entries) * SHAPE * down / across))))
    rows = math.ceil(len(entries) / columns)
    sheet = Image.new("RGB", (columns * across + GAP, rows * down + GAP), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=TEXT)
    for i, (entry, picture) in enumerate(zip(entries, pictures, strict=True)):
        x, y = GAP + i % columns * across, GAP + i // columns * down
        sheet.paste(picture, (x, y))
        for line, (text, colour) in enumerate(((entry.caption, INK), (entry.news, NEWS))):
            place = (x, y + height + line * LINE + LINE / 2 + 2)
            draw.text(place, _cut(draw, text, font, width), fill=colour, font=font, anchor="lm")
    return sheet


def _cut(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """`text`, or its beginning and dots where it is wider than `width` pixels."""
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "...", font=font) > width:
        text = text[:-1]
    return text.rstrip() + "..."
