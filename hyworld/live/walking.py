"""Live walks one after another, on a thread of their own, with their videos and autosaves."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, NamedTuple

import torch
from PIL import Image

from ..camera.tokens import Speeds
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
"""Or live-2.world, … if that exists."""

MOST_FAILURES = 3
"""Errors without a chunk between them; then a world is left alone until another one begins."""

NOTHING_WALKED = "Nothing has been walked here yet, so there is no video: hold a key first."

NO_MEMORY = "The memory does not hold this walk: start hyworld play with a smaller --size or --decoder tiny."

MakeWorld = Callable[[], World]


class Kept(NamedTuple):
    """A file that autosave left, and the chunks of its world."""

    path: Path
    chunks: int


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
        speeds: Speeds | None = None,
        autosave: int = 4,
        heeds_words: bool = True,
    ) -> None:
        self.pipeline = pipeline
        self.room = room
        self.speeds = speeds
        self.autosave = autosave
        self.heeds_words = heeds_words
        self.kept: list[Kept] = []
        self._jobs: queue.Queue[_Job | None] = queue.Queue()
        self._here: _Place | None = None
        self._next: _Place | None = None
        self._ends = False
        self._thread = threading.Thread(target=self._run, name="hyworld-live")
        self._thread.start()

    # Any thread.

    def begin(self, make: MakeWorld) -> Future[World]:
        """Walk in the world that `make` gives, which is called on the thread before the next chunk.

        What it raises is the future's, as an `InputError` for a world that does not fit; the walk before then goes on.
        """
        job = _Job(make, Future())
        self._jobs.put(job)
        return job.world

    @property
    def world(self) -> World | None:
        """Where one stands; None before the first world."""
        here = self._here
        return None if here is None else here.walk.world

    def copy_video(self, target: Path) -> None:
        """Write the walk's video so far to `target`, an ordinary MP4.

        Raises `InputError` if nothing was walked yet, or what writing raised.
        """
        here = self._here
        if here is None or not here.copy_video(target):
            raise InputError(NOTHING_WALKED)

    def close(self) -> None:
        """End the walk and save what is to be saved; blocks."""
        self._jobs.put(None)
        if (here := self._here) is not None:
            here.walk.stop()
        self._thread.join()

    # The thread.

    def _run(self) -> None:
        while not self._ends:
            if self._next is None:
                self._take(self._jobs.get())
                continue
            here, self._next = self._next, None
            try:
                with suppress(_Ends), here:
                    self._here = here
                    self._walk(here)
            except InputError as problem:  # such as no room for a video
                self.room.tell(messages.error(str(problem)))
            except Exception as error:  # such as no folder for one: another walk can still begin
                logging.exception("hyworld play: a walk could not begin or end")
                self.room.tell(messages.error(f"This walk could not begin or end ({error}): begin another one."))
            if here.kept is not None:
                self.kept.append(here.kept)

    def _walk(self, here: _Place) -> None:
        while self._next is None and here.failures < MOST_FAILURES:
            with suppress(_AnotherBegins):
                here.walk_on()
                self.look()
        if self._ends:
            raise _Ends

    def look(self) -> None:
        """Do what was asked for; raises to end the walk if that is another walk, or the end."""
        while self._next is None:
            try:
                self._take(self._jobs.get_nowait())
            except queue.Empty:
                return
            if self._ends:
                raise _Ends
        raise _AnotherBegins

    def _take(self, job: _Job | None) -> None:
        if job is None:
            self._ends = True
        elif job.world.set_running_or_notify_cancel():
            try:
                world = job.make()
                self._next = _Place(self, world)
            except (MemoryError, torch.OutOfMemoryError):
                job.world.set_exception(InputError(NO_MEMORY))
            except Exception as error:
                job.world.set_exception(error)
            else:
                job.world.set_result(world)


class _Job(NamedTuple):
    make: MakeWorld
    world: Future[World]


class _AnotherBegins(Exception):  # noqa: N818 - no error
    """Another walk begins."""


class _Ends(Exception):  # noqa: N818 - no error
    """The program ends: what was walked is kept."""


class _Place:
    """A world that is walked in, with its video and its autosave: a context manager, and its walks' `Listener`.

    walk: the newest of them; after an error there is another one.
    failures: errors since the last chunk.
    kept: what autosave left.
    """

    def __init__(self, walking: Walking, start: World) -> None:
        self.failures = 0
        self.kept: Kept | None = None
        self._problem: dict[str, Any] | None = None
        self._walking = walking
        self._room = walking.room
        self._start = start
        self._recording: Recording | None = None
        self._within = ExitStack()
        self.walk = self._new_walk(start)

    def __enter__(self) -> _Place:
        fps = self.walk.recipe.frames_per_second
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="hyworld-")))
            self._autosave = stack.enter_context(Autosave(AUTOSAVED, every=self._walking.autosave, keeps=True))
            video = stack.enter_context(VideoWriter(folder / "walk.mp4", *self._start.size, fps=fps, quick=True))
            self._recording = stack.enter_context(Recording(video, self._start))
            self._within = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._recording is not None
        with suppress(Exception):  # only so that no time goes into a video that nobody will see
            self._recording.finish(self._start)
        with suppress(InputError):
            self._within.__exit__(kind, error, trace)
        if self._autosave.path is not None:
            self.kept = Kept(self._autosave.path, self._autosave.chunks)

    def walk_on(self) -> None:
        """Walk where one stands, until the walk ends."""
        if self.walk.state == "stopped":
            before = self.walk
            self.walk = self._new_walk(before.furthest, goes_on=False)
            self.walk.go_back(before.world.chunks)
        self._room.opened(self.walk, heeds_words=self._walking.heeds_words, on_stop=self._stand)
        if self._problem is not None:  # not before, since what waits to be sent goes when a walk is opened
            self._room.tell(self._problem)
            self._problem = None
        try:
            self.walk.run()
        except InputError as problem:
            self._fails(str(problem))
        except (MemoryError, torch.OutOfMemoryError):
            self._fails(NO_MEMORY)
        except (_AnotherBegins, _Ends):
            raise
        except Exception as error:
            logging.exception("hyworld play: a walk ended")
            self._fails(f"An error of this program stopped the walk ({error!r}): hold a key to go on.")

    def copy_video(self, target: Path) -> int:
        """Returns the number of frames; 0 if there is nothing to copy."""
        try:
            return 0 if self._recording is None else self._recording.copy(target, self.walk.world)
        except RuntimeError:  # its thread has ended: another walk begins
            return 0

    # What the walk tells.

    def made(self, made: Made) -> None:
        assert self._recording is not None
        self.failures = 0
        self._recording.add(made)  # first, so that who has seen it can save it
        self._room.made(made)
        if problem := self._recording.problem():
            self._room.tell(messages.error(problem))
        self._autosave.keep(made.chunk)

    def stands(self, chunks: int, picture: Image.Image | None) -> None:
        self._room.stands(chunks, picture)

    def working(self, chunk: int, step: int, steps: int) -> None:
        self._room.working(chunk, step, steps)

    def changed(self) -> None:
        self._room.changed()

    def note(self, text: str) -> None:
        self._room.note(text)

    def _new_walk(self, world: World, goes_on: bool | None = None) -> LiveWalk:
        walking = self._walking
        return LiveWalk(walking.pipeline, world, self, speeds=walking.speeds, goes_on=goes_on, on_wait=walking.look)

    def _stand(self) -> None:
        """The page's stop: the walk can be gone on with."""
        self.walk.hold(Held(None))
        self.walk.set_goes_on(False)

    def _fails(self, text: str) -> None:
        self.failures += 1
        self._problem = messages.error(text)
        if self.failures == MOST_FAILURES:
            self._room.tell(self._problem)
