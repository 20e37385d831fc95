"""The video of a live walk, written on a thread of its own; going back takes what followed out again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from torch import Tensor

from ..video import VideoWriter
from ..walk import World
from .walk import Made

MOST_WAITING = 8
"""Chunks that are encoded or wait for it. A walk that is faster than that waits, so that memory stays flat."""


class Recording:
    """Writes the chunks of a live walk to `video`; a context manager inside the video's.

    start: the world the walk began in; its own frames are not part of the video.
    failure: what ended the writing, such as the `InputError` of a full disk; the walk may go on without it.
    """

    def __init__(self, video: VideoWriter, start: World) -> None:
        self.failure: Exception | None = None
        self._said = False
        self._video = video
        self._first = start.video_frames  # of the line, the first one that the video has
        self._frames = 0  # given to the video
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="recording")
        self._room = threading.Semaphore(MOST_WAITING)

    def add(self, made: Made) -> None:
        """Append a chunk, in place of all that followed where it begins.

        Returns at once, unless `MOST_WAITING` others wait.
        """
        assert made.chunk.frames is not None
        self._room.acquire()
        begins = made.chunk.world.at_chunk(made.chunk.index).video_frames
        writing = self._thread.submit(self._write, begins, made.chunk.frames)
        writing.add_done_callback(lambda _: self._room.release())

    def problem(self) -> str:
        """For who walks: that the video has ended, and why; "" if it goes on, or if that was said."""
        if self.failure is None or self._said:
            return ""
        self._said = True
        return f"{self.failure} The video ends here."

    def copy(self, target: Path, world: World) -> int:
        """Write the video up to where `world` stands to `target`, an ordinary MP4; returns its number of frames.

        world: of the line recorded; if the walk is elsewhere by now, as far as the two go. Waits for all chunks added.
        Raises what writing raised.
        """
        return self._thread.submit(self._copy, target, world.video_frames).result()

    def finish(self, world: World) -> None:
        """Cut the video where `world` stands, and wait until all is written. Raises what writing raised."""
        self._thread.submit(self._rewind, world.video_frames).result()
        self._check()

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()

    def _write(self, begins: int, frames: Tensor) -> None:
        """begins: frames of the line before these."""
        if self.failure is not None:
            return
        try:
            self._rewind(begins)
            self._frames += len(frames)
            self._video.write(frames)
        except Exception as error:
            self.failure = error

    def _rewind(self, line: int) -> None:
        """Go to where so many frames of the line were walked."""
        self._first = min(self._first, line)
        kept = line - self._first
        if kept != self._frames:
            self._video.rewind(kept)
            self._frames = kept

    def _copy(self, target: Path, line: int) -> int:
        self._check()
        return self._video.copy(target, min(max(0, line - self._first), self._frames))

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure
