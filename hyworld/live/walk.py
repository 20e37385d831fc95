"""One live walk: `Pipeline.walk` along a path that is made while it is walked, or with words alone."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, Protocol

import torch
from PIL import Image

from ..camera import Trajectory
from ..camera.tokens import Motion, Speeds
from ..errors import InputError
from ..pipeline import TEXT_ENCODER_MISSING, Pipeline
from ..walk import Chunk, Progress, World
from ..walk.walker import OnProgress
from .controls import Clock, Controls, Held, LatentInput
from .cores import Cores
from .pacing import Pacing
from .path import cameras_onwards

State = Literal["standing", "computing", "stopped"]
"""Waiting for a key; walking (also while the next chunk waits for the screen); ended."""


CHORD = 0.06
"""Seconds in which keys count as pressed together, as in the path editor: the first chunk waits so long for others."""

GIVE_BACK_EVERY = 16
"""Chunks. Memory given back has to be taken again, which costs the next chunk a tenth of its time."""

WAIT = 0.1
"""Seconds between two calls of `on_wait` at most."""


class Made(NamedTuple):
    """A chunk of a live walk, what its latents were given, and the seconds it was computed."""

    chunk: Chunk
    inputs: tuple[LatentInput, ...]
    seconds: float


class Listener(Protocol):
    """Is told of a live walk, on the walking thread: every method must return at once."""

    def made(self, made: Made) -> None:
        """A chunk is there. Its index tells the place: after going back, lower than before."""

    def stands(self, chunks: int, picture: Image.Image | None) -> None:
        """One stands where the world has so many chunks: before the first chunk, and after each `go_back`.

        picture: what is seen there. None where it is the last frame of a chunk that came by `made`, and in a world of
            words alone, which has none yet.
        """

    def working(self, chunk: int, step: int, steps: int) -> None:
        """So many denoising steps of the chunk of that index are done."""

    def changed(self) -> None:
        """State, place, words or `goes_on` changed: read the walk's properties."""

    def note(self, text: str) -> None:
        """A sentence for who walks: words that cannot be told."""


class LiveWalk:
    """A walk in `world` that one thread runs and others steer.

    A model that follows no camera is not steered: what is held lets time go on, and the path stands still.

    listener: is told of everything, on the walking thread.
    speeds: of keys, and of sticks at full deflection; default: the model's own.
    recipe, steers: of the model: how it is walked, and whether it follows a camera.
    goes_on: with nothing held, time goes on instead of standing still. Default: for a model that follows no camera.
    on_wait: called at least every 0.1 s while `run` waits; may raise to end the walk.
    on_progress: as of `Pipeline.walk`; may raise to end the walk.

    Raises `InputError` for a world that does not fit the pipeline.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        world: World,
        listener: Listener,
        *,
        speeds: Speeds | None = None,
        goes_on: bool | None = None,
        on_wait: Callable[[], None] | None = None,
        on_progress: OnProgress | None = None,
    ) -> None:
        assert pipeline.walker.decoding is not None, "a walker without a decoder has nothing to show"
        self.recipe = pipeline.walker.recipe
        self.speeds = speeds = speeds or self.recipe.speeds
        self.steers = pipeline.walker.network.config.cameras
        pipeline.walk(world, iter(()) if self.steers else None, 1)  # which refuses what does not fit
        pipeline.walker.give_back_every = GIVE_BACK_EVERY
        self._pipeline = pipeline
        self._decoding = pipeline.walker.decoding
        self._listener = listener
        self._on_wait = on_wait or (lambda: None)
        self._on_progress = on_progress or (lambda progress: None)
        self._controls = Controls(speeds)
        self._clock = Clock()
        self._pacing = Pacing()
        self._shown_from = world.chunks  # the first chunk of the line that came by `made`
        self._inputs: tuple[LatentInput, ...] = ()  # of the chunk in work
        self._asked = 0.0  # when it was asked for

        self._changed = threading.Condition()  # for all that follows
        self._here = self._furthest = world
        self._state: State = "standing"
        self._noticed: float | None = None  # when a press ended standing still
        self._goes_on = not self.steers if goes_on is None else goes_on
        self._words: str | None = None  # to be told
        self._place: int | None = None  # to go to
        self._stopping = False
        self._news = False

    @property
    def world(self) -> World:
        """The world where one stands."""
        return self._here

    @property
    def furthest(self) -> World:
        """The longest line walked through `world`: what `go_back` can go forward to again."""
        return self._furthest

    @property
    def state(self) -> State:
        """See `State`."""
        return self._state

    @property
    def words(self) -> str:
        """The prompt of the chunks to come, also one that is not encoded yet."""
        words = self._words
        return self._here.prompt if words is None else words

    @property
    def can_tell(self) -> bool:
        """Whether there is a text encoder for new words."""
        return self._pipeline.encode_text is not None

    @property
    def goes_on(self) -> bool:
        """Whether time goes on with nothing held."""
        return self._goes_on

    def run(self) -> World:
        """Walk until `stop`; blocks. Returns the world where one then stands.

        What `on_wait`, `on_progress` and the networks raise ends it; `world` then has all whole chunks.
        """
        try:
            walker = self._pipeline.walker
            with Cores(walker.device, walker.dtype) as cores:
                if self._place is None:
                    self._arrive()
                while not self._stopping:
                    self._obey()
                    try:
                        for chunk in self._walk():
                            self._add(chunk, cores)
                    except _DroppedError:
                        pass
        finally:
            self._enter("stopped")
        return self._here

    def hold(self, held: Held) -> None:
        """What the walker holds from now on."""
        now = time.monotonic()
        with self._changed:
            self._controls.hold(held, self._clock.here(held.at, now))
            self._changed.notify()

    def say(self, text: str) -> None:
        """Words for the chunks to come; raises `InputError` without a text encoder."""
        if not self.can_tell:
            raise InputError(TEXT_ENCODER_MISSING)
        with self._changed:
            self._words = text
            self._changed.notify()

    def go_back(self, chunks: int) -> None:
        """Stand where the world had so many chunks, dropping a chunk in work.

        Also forward again, up to `furthest`, until another way was taken. Raises `InputError` for another number.
        """
        with self._changed:
            if not 0 <= chunks <= self._furthest.chunks:
                raise InputError(f"This walk has {self._furthest.chunks} chunks: go to 0 to that, not {chunks}.")
            self._place = chunks
            self._words = None  # there it has the words it had then
            self._changed.notify()

    def playing(self, chunk: int, left: float) -> None:
        """The walker's screen began to play the chunk of this index, and has so many seconds to play, this included."""
        with self._changed:
            self._pacing.playing(chunk, left, time.monotonic())
            self._changed.notify()

    def set_goes_on(self, on: bool) -> None:
        """Whether time goes on with nothing held."""
        with self._changed:
            self._goes_on = on
            self._news = True
            self._changed.notify()

    def stop(self) -> None:
        """End `run`, in mid-chunk within one denoising step."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    # From here on: on the walking thread.

    def _walk(self) -> Iterator[Chunk]:
        if not self.steers:
            return self._still()
        # On a CPU nothing would be gained: it has no time while it works, and what was not foreseen is chosen twice.
        foresee = None if self._pipeline.walker.device.type == "cpu" else self._foresee
        return self._pipeline.walk(self._here, self._cameras(), on_progress=self._report, foresee=foresee)

    def _cameras(self) -> Iterator[Trajectory]:
        """The path, a chunk at a time; ends when there is something else to do."""
        while (inputs := self._wait()) is not None:
            motions = [given.motion for given in inputs]
            self._inputs = inputs if self._here.history else (LatentInput(Motion()), *inputs)
            self._asked = time.monotonic()
            here = self._here.history[-1].cameras if self._here.history else None
            yield cameras_onwards(here, motions, self.speeds)

    def _still(self) -> Iterator[Chunk]:
        """A chunk each time that one is due, without a path; ends when there is something else to do."""
        walk = self._pipeline.walk(self._here, chunks=sys.maxsize, on_progress=self._report)
        while self._wait() is not None:
            self._inputs = (LatentInput(Motion()),) * self.recipe.chunk_latents
            self._asked = time.monotonic()
            yield next(walk)

    def _foresee(self, cameras: Trajectory) -> Trajectory:
        """The chunk after these, if what is held stays held."""
        return cameras_onwards(cameras, [self._inputs[-1].motion] * self.recipe.chunk_latents, self.speeds)

    def _wait(self) -> tuple[LatentInput, ...] | None:
        """What the next chunk's latents are given, once it is time; None if there is something else to do."""
        begins = self.steers and not self._here.history
        latents = self.recipe.chunk_latents - begins  # a world begins where it begins
        while True:
            self._on_wait()
            self._tell_news()
            with self._changed:
                if self._stopping or self._place is not None or self._words is not None:
                    return None
                now = time.monotonic()
                due = self._due(now)
                if due is None or due > now:
                    self._changed.wait(WAIT if due is None else min(WAIT, due - now))
                    continue
                inputs = self._controls.take(now, latents, goes_on=self._goes_on)
                self._noticed = None
            self._enter("standing" if inputs is None else "computing")
            if inputs is not None:
                return inputs

    def _due(self, now: float) -> float | None:
        """When to take the next chunk's inputs; None: not before something is held."""
        if self._state == "computing":
            return self._pacing.due(now)
        if self._goes_on:
            return now
        if self._controls.idle:
            return None
        self._noticed = now if self._noticed is None else self._noticed
        return self._noticed + CHORD

    def _report(self, progress: Progress) -> None:
        self._on_progress(progress)
        self._listener.working(progress.chunk, progress.step, self.recipe.steps)
        self._tell_news()
        if self._stopping or self._place is not None:
            raise _DroppedError

    def _add(self, chunk: Chunk, cores: Cores) -> None:
        assert chunk.frames is not None
        now = time.monotonic()
        play = len(chunk.frames) / self.recipe.frames_per_second
        with self._changed:
            if self._place is not None:
                raise _DroppedError
            self._here = self._furthest = chunk.world
            self._pacing.made(chunk.index, play, self._asked, now)
        cores.made(now - self._asked, play)
        self._shown_from = min(self._shown_from, chunk.index)
        self._listener.made(Made(chunk, self._inputs, now - self._asked))
        self._listener.changed()

    def _obey(self) -> None:
        with self._changed:
            place, self._place = self._place, None
            if place is not None:
                self._here = self._furthest.at_chunk(place)
                self._controls.stand()
                self._pacing.restart()
                self._noticed = None
                self._state = "standing"
        if place is not None:
            self._arrive()
        text = self._words
        if text is not None:
            self._tell(text)

    def _arrive(self) -> None:
        """Say where one stands, and make ready to go on from there."""
        self._listener.stands(self._here.chunks, self._picture())
        self._listener.changed()
        if self._place is None and not self._stopping:
            self._decoding.prepare(self._here)

    def _tell(self, text: str) -> None:
        try:
            told = self._here.told(self._pipeline.words(text))
        except InputError as error:
            told = self._here
            self._listener.note(str(error))
        with self._changed:
            if self._words is text:
                self._words = None
            if told.chunks == self._furthest.chunks:
                self._furthest = told
            self._here = told
        self._listener.changed()

    @torch.no_grad()
    def _picture(self) -> Image.Image | None:
        """What is seen where one stands, unless it came by `made`."""
        world = self._here
        if world.chunks > self._shown_from:
            return None
        if world.history:
            frames = next(self._pipeline.replay(world, world.chunks - 1)).frames
            assert frames is not None
        elif world.first_frame is not None:
            frames = self._decoding.decode(world, world.first_frame[:, :, :1]).pictures.collect()
        else:
            return None
        return Image.fromarray(frames[-1].numpy())

    def _enter(self, state: State) -> None:
        if self._state != state:
            self._state = state
            self._listener.changed()

    def _tell_news(self) -> None:
        with self._changed:
            news, self._news = self._news, False
        if news:
            self._listener.changed()


class _DroppedError(Exception):
    """The chunk in work is not wanted any more."""
