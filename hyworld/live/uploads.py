"""What is uploaded: read up to a limit, into a file, and refused before it can take memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from aiohttp import BodyPartReader, web
from PIL import Image

from ..errors import InputError
from ..picture import open_picture
from ..walk import World
from .messages import MOST_WORDS

MOST_PICTURE_BYTES = 32 << 20
MOST_WORLD_BYTES = 256 << 20

MOST_PIXELS = 50_000_000
"""Of a picture; three bytes each."""

MOST_WORLD_PIXELS = 1088 * 1920
"""Of a world's frames: a small file can ask for any size."""

MOST_SEED = 2**64 - 1

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")

_PIECE = 1 << 18


class TooLargeError(InputError):
    """More was sent than is read."""


class Begin(NamedTuple):
    """What another walk begins with.

    picture: whether one was uploaded; scene: the number of one that ships, or None.
    """

    picture: bool
    scene: int | None
    words: str
    seed: int


async def read_begin(request: web.Request, picture: Path) -> Begin:
    """The form of another walk; an uploaded picture goes to the file `picture`.

    Raises `InputError` for a form with other fields or values, and `TooLargeError`.
    """
    _check_length(request, MOST_PICTURE_BYTES + (1 << 16), "picture", MOST_PICTURE_BYTES)
    if request.content_type != "multipart/form-data":
        raise InputError("A walk begins with a form (multipart/form-data): picture or scene, words and seed.")
    texts: dict[str, str] = {}
    uploaded = False
    try:
        parts = await request.multipart()
        while (part := await parts.next()) is not None:
            if not isinstance(part, BodyPartReader):
                raise ValueError("a form in a form")
            name = part.name
            if name == "picture" and not uploaded:
                uploaded = True
                with picture.open("wb") as file:
                    await _copy(part.read_chunk, file, MOST_PICTURE_BYTES, "picture")
            elif name in ("scene", "words", "seed") and name not in texts:
                texts[name] = await _text(part, 4 * MOST_WORDS)
            else:
                raise InputError("The form of a walk has the fields picture or scene, words and seed, each once.")
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError("The form cannot be read: send it as multipart/form-data.") from None
    words = texts.get("words", "")
    if len(words) > MOST_WORDS:
        raise TooLargeError(f"The words have more than {MOST_WORDS} characters: shorten them.")
    seed = _whole(texts.get("seed", "0"), "seed", MOST_SEED)
    scene = _whole(texts["scene"], "scene", 999) if "scene" in texts else None
    return Begin(uploaded, scene, words, seed)


async def read_world(request: web.Request, file: Path) -> None:
    """A world's file, which is the whole body, into `file`; raises `TooLargeError`."""
    _check_length(request, MOST_WORLD_BYTES, "world", MOST_WORLD_BYTES)
    with file.open("wb") as written:
        await _copy(lambda size: request.content.read(size), written, MOST_WORLD_BYTES, "world")


def open_upload(path: Path) -> Image.Image:
    """A picture that somebody sent; raises `InputError` if it is none, or too large to be decoded."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            width, height = picture.size  # from its header
    except Image.DecompressionBombError:
        raise _too_many_pixels() from None
    except Exception:  # a reader of pictures may raise anything
        raise InputError(
            f"This is no picture that can be read: give a file of the kind {', '.join(FORMATS[:-1])} or {FORMATS[-1]}."
        ) from None
    if width * height > MOST_PIXELS:
        raise _too_many_pixels()
    try:
        return open_picture(path)
    except InputError:
        raise InputError("The picture is damaged: save it again as PNG or JPEG.") from None


def load_upload(path: Path) -> World:
    """A world that somebody sent; raises `InputError` if it is none, or of too large frames."""
    world = World.load(path)
    height, width = world.size
    if height * width > MOST_WORLD_PIXELS:
        raise InputError(f"The frames of this world are {height}x{width}: the page walks in worlds of up to 1088x1920.")
    return world


def _check_length(request: web.Request, most: int, what: str, told: int) -> None:
    if (request.content_length or 0) > most:
        raise _too_large(what, told)


async def _copy(read: Callable[[int], Awaitable[bytes]], file: BinaryIO, most: int, what: str) -> None:
    size = 0
    while piece := await read(_PIECE):
        size += len(piece)
        if size > most:
            raise _too_large(what, most)
        await asyncio.to_thread(file.write, piece)


async def _text(part: BodyPartReader, most: int) -> str:
    data = b""
    while piece := await part.read_chunk(_PIECE):
        data += piece
        if len(data) > most:
            raise TooLargeError(f"The field {part.name} is too long: shorten it.")
    return data.decode()


def _whole(text: str, name: str, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 20 and int(text) <= most):
        raise InputError(f"The {name} must be a whole number from 0 to {most}, got {text[:40]!r}.")
    return int(text)


def _too_many_pixels() -> InputError:
    return InputError(f"The picture has more than {MOST_PIXELS // 1_000_000} million pixels: make it smaller.")


def _too_large(what: str, most: int) -> TooLargeError:
    return TooLargeError(f"The {what} is larger than {most >> 20} MB: choose a smaller one.")
