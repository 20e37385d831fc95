"""Frames for a browser: pictures, encoded on threads of their own, and the binary messages that carry them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .walk import Made

FORMAT = "jpeg"


class Pictured(NamedTuple):
    """An encoded chunk.

    index: the chunk's.
    message: the binary chunk message.
    last: the last frame as a picture of its own, for who joins or comes back here.
    thumbnail: the same, small.
    """

    index: int
    message: bytes
    last: bytes
    thumbnail: bytes


class Pictures:
    """Encodes the chunks of a live walk on threads of its own; a context manager.

    ready: called on such a thread, one chunk at a time, in the order in which they were made; must return soon.
    """

    def __init__(self, ready: Callable[[Pictured], None]) -> None: ...

    def add(self, made: Made) -> None:
        """Encode a chunk; returns at once."""

    def close(self) -> None:
        """Let no more chunks come; those on their way are dropped."""


def encode(picture: Image.Image | NDArray[np.uint8]) -> bytes:
    """A picture as it travels."""


def picture_message(picture: bytes) -> bytes:
    """The binary message of a still picture."""


def thumbnails_message(first: int, thumbnails: Sequence[bytes]) -> bytes:
    """The binary message of the thumbnails of the chunks from the one of index `first` on."""


def pack(header: dict[str, Any], pictures: Sequence[bytes] = ()) -> bytes:
    """A binary message: length of the JSON header (uint32, little-endian), header, pictures."""
