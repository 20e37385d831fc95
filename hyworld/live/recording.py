"""The video of a live walk, written on a thread of its own; going back takes what follows out again."""

from __future__ import annotations

from pathlib import Path

from ..video import VideoWriter
from ..walk import World
from .walk import Made


class Recording:
    """Writes the chunks of a live walk to `video`; a context manager inside the video's.

    start: the world the walk began in; its own frames are not part of the video.
    """

    def __init__(self, video: VideoWriter, start: World) -> None: ...

    def add(self, made: Made) -> None:
        """Append a chunk, in place of all that followed where it begins; returns at once."""

    def copy(self, target: Path, world: World) -> int:
        """Write the video up to where `world` stands to `target` (an ordinary MP4); returns its number of frames.

        Waits for all chunks added. Raises what writing raised.
        """

    def finish(self, world: World) -> None:
        """Cut the video where `world` stands, and wait until all is written. Raises what writing raised."""
