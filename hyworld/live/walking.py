"""Live walks one after another, on a thread of their own, with their videos and autosaves."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import NamedTuple

import torch
from PIL import Image

from ..camera.tokens import DEFAULT_SPEEDS, Speeds
from ..errors import InputError
from ..pipeline import Pipeline
from ..video import VideoWriter
from ..walk import World
from ..walk.autosave import Autosave
from . import messages
from .controls import Held
from .recording import Recording
from .room import Room
from .walk import LiveWalk, Made

AUTOSAVED = Path("live.world")

MOST_FAILURES = 3
"""Errors without a chunk between them; then the world is left alone until another one begins."""

MakeWorld = Callable[[], World]


class Kept(NamedTuple):
    """A file that autosave left, and the chunks of its world."""

    path: Path
    chunks: int


class _Job(NamedTuple):
    make: MakeWorld
    world: Future[World]


class Walking:
    """Walks in one world after another, for `room`; all that needs the networks is done on its thread.

    autosave: save worlds every so many chunks, as `AUTOSAVED` in the current folder; 0: never.
    heeds_words: whether the model takes notice of words.
    kept: what autosave left, complete after `close`.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        room: Room,
        *,
        speeds: Speeds = DEFAULT_SPEEDS,
        autosave: int = 4,
        heeds_words: bool = True,
    ) -> None:
        self.pipeline = pipeline
        self.kept: list[Kept] = []
        self._room = room
        self._speeds = speeds
        self._autosave = autosave
        self._heeds_words = heeds_words
        self._jobs: queue.Queue[_Job | None] = queue.Queue()
        self._next: World | None = None
        self._ends = False
        self._walked: _Walked | None = None
        self._thread = threading.Thread(target=self._run, name="hyworld-live")
        self._thread.start()

    def begin(self, make: MakeWorld) -> Future[World]:
        """Walk in the world that `make` gives, which is called on the thread while nothing is computed there.

        What it raises is the future's, and the walk before goes on.
        """
        job = _Job(make, Future())
        self._jobs.put(job)
        return job.world

    @property
    def world(self) -> World | None:
        """Where one stands; None before the first world."""
        return None if self._walked is None else self._walked.walk.world

    def copy_video(self, target: Path) -> None:
        """Write the walk's video so far to `target`, an ordinary MP4.

        Raises `InputError` if nothing was walked yet, or what writing raised.
        """
        if self._walked is None:
            raise InputError(NOTHING_WALKED)
        self._walked.copy_video(target)

    def close(self) -> None:
        """End the walk and save what is to be saved; blocks."""
        self._jobs.put(None)
        if self._walked is not None:
            self._walked.walk.stop()
        self._thread.join()

    # On the thread.

    def _run(self) -> None:
        while not self._ends:
            if self._next is None:
                self._take(self._jobs.get())
                continue
            world, self._next = self._next, None
            try:
                with _Walked(self, world) as walked:
                    self._walk(walked)
            except InputError as problem:  # such as no space for the video
                self._room.tell(messages.error(str(problem)))

    def _walk(self, walked: _Walked) -> None:
        while not self._ends and self._next is None and walked.failures < MOST_FAILURES:
            try:
                walked.open().run()
            except _AnotherBegins:
                pass
            except InputError as problem:
                walked.fails(str(problem))
            except (MemoryError, torch.OutOfMemoryError):
                walked.fails("The memory does not hold this walk: begin with a smaller --size or --decoder tiny.")
            except Exception as error:
                logging.exception("hyworld play: a walk ended")
                walked.fails(f"The walk ended by an error of this program ({error!r}): press a key to go on.")
            else:
                self._look()

    def _look(self) -> None:
        """See to it that what is asked for is done, while the networks are free; raises to end the walk."""
        while self._next is None and not self._ends:
            try:
                self._take(self._jobs.get_nowait())
            except queue.Empty:
                return

    def _take(self, job: _Job | None) -> None:
        if job is None:
            self._ends = True
        elif job.world.set_running_or_notify_cancel():
            try:
                self._next = job.make()
            except Exception as error:
                job.world.set_exception(error)
            else:
                job.world.set_result(self._next)


class _Walked:
    """The walk in one world, with its video and its autosave; a context manager, and the walk's `Listener`."""

    def __init__(self, walking: Walking, start: World) -> None:
        self.failures = 0
        self._walking = walking
        self._start = start
        self._within = ExitStack()
        self.walk = self._new_walk(start)

    def __enter__(self) -> _Walked:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="hyworld-")))
            self._autosave = stack.enter_context(Autosave(AUTOSAVED, every=self._walking.autosave, keeps=True))
            video = stack.enter_context(VideoWriter(folder / "walk.mp4", *self._start.size))
            self._recording = stack.enter_context(Recording(video, self._start))
            self._within = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._within.__exit__(kind, error, trace)
        if self._autosave.path is not None:
            self._walking.kept.append(Kept(self._autosave.path, self._autosave.chunks))

    def open(self) -> LiveWalk:
        """A live walk where one stands, shown in the room; to be run."""
        ...
