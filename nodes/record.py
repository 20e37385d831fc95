"""What a live walk leaves in files while it goes on: nobody can walk the same way twice."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any

from ..hyworld.live.recording import Recording
from ..hyworld.live.walk import Made
from ..hyworld.walk import World
from ..hyworld.walk.autosave import Autosave
from .host.video import UNFINISHED, VideoFile, unfinished_folder
from .results import AUTOSAVE


class Record:
    """A context manager around a live walk: its video, and its world every few chunks.

    A walk that is cancelled or fails leaves both in the folder for unfinished walks.

    fps: frames per second.
    video: whether a video is wanted.
    keep: leave the world there in any case, because no other node takes it.
    """

    def __init__(self, start: World, *, fps: int, video: bool, keep: bool) -> None:
        self._start = start
        self._video = VideoFile(start.size, fps=fps, live=True) if video else None
        self._saves = Autosave(unfinished_folder() / "walk.part.world", every=AUTOSAVE)
        self._keep = keep
        self._recording: Recording | None = None
        self._open = ExitStack()

    def __enter__(self) -> Record:
        if self._video is not None:
            self._open.enter_context(self._video)
            self._recording = self._open.enter_context(Recording(self._video.writer, self._start))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # To the autosave, a world that nobody takes is one of a walk that failed.
        try:
            self._saves.__exit__(BaseException if self._keep else kind, error, trace)
        finally:
            self._open.__exit__(kind, error, trace)

    def add(self, made: Made) -> None:
        """A chunk, in place of all that followed where it begins."""
        if self._recording is not None:
            self._recording.add(made)
        self._saves.keep(made.chunk)

    def problem(self) -> str:
        """For who walks: that the video has ended, and why; "" if it goes on, or if that was said."""
        return "" if self._recording is None else self._recording.problem()

    def finish(self, world: World) -> None:
        """The walk ended here."""
        if self._recording is not None:
            self._recording.finish(world)

    @property
    def video(self) -> Any:
        """VIDEO, None if it is not wanted; only after leaving."""
        return None if self._video is None else self._video.video

    @property
    def kept(self) -> str:
        """A sentence that says where a walk is kept that no other node got; only after leaving."""
        files = [self._saves.path, None if self._video is None else self._video.unfinished]
        names = [f"output/{UNFINISHED}/{file.name}" for file in files if file is not None and file.is_file()]
        return f"This walk is kept in {' and '.join(names)}." if names else ""
