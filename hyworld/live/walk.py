"""One live walk: `Pipeline.walk` along a path that is made while it is walked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from PIL import Image

from ..camera.tokens import DEFAULT_SPEEDS, Speeds
from ..pipeline import Pipeline
from ..walk import Chunk, World
from ..walk.walker import OnProgress
from .controls import Held, LatentInput

State = Literal["standing", "computing", "stopped"]
"""Waiting for a key; walking (also while the next chunk waits for the screen); ended."""


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

    listener: is told of everything, on the walking thread.
    speeds: of keys, and of sticks at full deflection.
    goes_on: with nothing held, time goes on instead of standing still.
    on_wait: called at least every 0.1 s while `run` waits; may raise to end the walk.
    on_progress: as of `Pipeline.walk`; may raise to end the walk.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        world: World,
        listener: Listener,
        *,
        speeds: Speeds = DEFAULT_SPEEDS,
        goes_on: bool = False,
        on_wait: Callable[[], None] | None = None,
        on_progress: OnProgress | None = None,
    ) -> None:
        ...

    @property
    def world(self) -> World:
        """The world where one stands."""

    @property
    def furthest(self) -> World:
        """The longest line walked through `world`: what `go_back` can go forward to again."""

    @property
    def state(self) -> State:
        """See `State`."""

    @property
    def words(self) -> str:
        """The prompt of the chunks to come, also one that is not encoded yet."""

    @property
    def can_tell(self) -> bool:
        """Whether there is a text encoder for new words."""

    @property
    def goes_on(self) -> bool:
        """Whether time goes on with nothing held."""

    @property
    def speeds(self) -> Speeds:
        """Of keys, and of sticks at full deflection."""

    def run(self) -> World:
        """Walk until `stop`; blocks. Returns the world where one then stands.

        What `on_wait`, `on_progress` and the networks raise ends it; `world` then has all whole chunks.
        """

    def hold(self, held: Held) -> None:
        """What the walker holds from now on."""

    def say(self, text: str) -> None:
        """Words for the chunks to come; raises `InputError` without a text encoder."""

    def go_back(self, chunks: int) -> None:
        """Stand where the world had so many chunks, dropping a chunk in work.

        Also forward again, up to `furthest`, until another way was taken. Raises `InputError` for another number.
        """

    def playing(self, chunk: int, left: float) -> None:
        """The walker's screen began to play the chunk of this index, and has so many seconds to play, this included."""

    def set_goes_on(self, on: bool) -> None:
        """Whether time goes on with nothing held."""

    def stop(self) -> None:
        """End `run`, in mid-chunk within one denoising step."""
