"""Frames for a browser: pictures, encoded on a thread of their own, and the binary messages that carry them.

JPEG, for its speed (docs/live.md has the numbers): every frame is a picture of its own, so that any one can be dropped.
"""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .path import path_of
from .walk import Made

FORMAT = "jpeg"
QUALITY = 90

THUMBNAIL_SIDE = 160
"""Pixels of a thumbnail's longer side."""

MOST_WAITING = 8
"""Chunks that are encoded or wait for it. A walk that is faster than that waits, so that memory stays flat."""


@dataclass(frozen=True)
class Pictured:
    """An encoded chunk.

    message: the binary chunk message.
    last: the last frame as a picture of its own, for who joins or comes back here.
    thumbnail: the same, small.
    """

    message: bytes
    last: bytes
    thumbnail: bytes


class Pictures:
    """Encodes the chunks of a live walk, one after the other, on a thread of its own."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pictures")
        self._room = threading.Semaphore(MOST_WAITING)

    def add(self, made: Made, ready: Callable[[Pictured | None], None]) -> None:
        """Encode a chunk; returns at once, unless `MOST_WAITING` others wait. Nothing happens after `close`.

        ready: called on the thread; without a chunk if it could not be encoded.
        """
        self._room.acquire()
        try:
            encoding = self._thread.submit(_encode, made, ready)
        except RuntimeError:  # closed
            self._room.release()
        else:
            encoding.add_done_callback(lambda _: self._room.release())

    def close(self) -> None:
        """Drop the chunks that wait, and wait for the one in work."""
        self._thread.shutdown(cancel_futures=True)


def _encode(made: Made, ready: Callable[[Pictured | None], None]) -> None:
    chunk = None
    try:
        chunk = pictured(made)
    except Exception:
        logging.exception("HY-WorldPlay: A chunk of the live walk could not be shown.")
    ready(chunk)


def pictured(made: Made) -> Pictured:
    """The chunk as it travels."""
    chunk = made.chunk
    assert chunk.frames is not None
    frames = chunk.frames.numpy()
    pictures = [encode(frame) for frame in frames]
    thumbnail = encode(thumbnail_of(Image.fromarray(frames[-1])))
    header = {
        "type": "chunk",
        "chunk": chunk.index,
        "format": FORMAT,
        "pictures": [len(picture) for picture in pictures],
        "thumbnail": len(thumbnail),
        "path": path_of(chunk.world.history[-1].cameras),
        "inputs": [
            {"keys": given.keys, "since": None if given.since is None else round(given.since * 1000, 3)}
            for given in made.inputs
        ],
        "seconds": round(made.seconds, 4),
    }
    return Pictured(pack(header, [*pictures, thumbnail]), pictures[-1], thumbnail)


def encode(picture: Image.Image | NDArray[np.uint8]) -> bytes:
    """A picture, or pixels `[H, W, 3]`, as it travels."""
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(picture)
    file = io.BytesIO()
    picture.convert("RGB").save(file, FORMAT, quality=QUALITY)
    return file.getvalue()


def thumbnail_of(picture: Image.Image) -> Image.Image:
    """The picture, small."""
    scale = THUMBNAIL_SIDE / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BOX)


def picture_message(picture: bytes) -> bytes:
    """The binary message of a still picture."""
    return pack({"type": "picture", "format": FORMAT, "pictures": [len(picture)]}, [picture])


def thumbnails_message(first: int, thumbnails: Sequence[bytes]) -> bytes:
    """The binary message of the thumbnails of the chunks from the one of index `first` on."""
    sizes = [len(thumbnail) for thumbnail in thumbnails]
    return pack({"type": "thumbnails", "first": first, "format": FORMAT, "pictures": sizes}, thumbnails)


def pack(header: dict[str, Any], pictures: Sequence[bytes] = ()) -> bytes:
    """A binary message: length of the JSON header (uint32, little-endian), header, pictures."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"".join((len(text).to_bytes(4, "little"), text, *pictures))
