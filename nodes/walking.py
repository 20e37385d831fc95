"""The act of a Live Walk: between the walk, the people in its room, the host, and the files."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from ..hyworld import builtin
from ..hyworld.camera import Speeds, Trajectory
from ..hyworld.config import TINY
from ..hyworld.errors import InputError
from ..hyworld.live import messages
from ..hyworld.live.walk import LiveWalk, Made
from ..hyworld.pipeline import Pipeline
from ..hyworld.walk import Progress, World
from ..hyworld.walk.world import told_by_chunk
from .host.live import Place
from .host.run import ProgressBar, raise_if_interrupted
from .record import Record

NOTHING = (
    "Nothing was walked, so there is no video: press Run, click into the picture of Live Walk, and hold W or an arrow "
    "key for a second before you stop."
)


class Walking:
    """The `Listener` of a live walk in a node: tells the room, keeps the record, asks the host. One walk each.

    load: brings model and decoder back to the GPU.
    """

    def __init__(self, place: Place, record: Record, load: Callable[[], None], bar: ProgressBar) -> None:
        self._place = place
        self._room = place.room
        self._record = record
        self._load = load
        self._bar = bar
        self._walk: LiveWalk | None = None

    def walk(self, pipeline: Pipeline, start: World, speeds: Speeds, goes_on: bool, notes: list[str]) -> World:
        """Walk from `start` until somebody stops it; returns the world there.

        notes: to be told to who walks.

        Raises `InputError` if nobody comes, and the host's cancel.
        """
        self._walk = walk = LiveWalk(
            pipeline, start, self, speeds=speeds, goes_on=goes_on, on_wait=self._look, on_progress=self._report
        )
        self._place.begin(walk, heeds_words=heeds_words(pipeline))
        for note in notes:
            self._room.tell(messages.note(note))
        try:
            return walk.run()
        finally:
            self._record.finish(walk.world)

    def made(self, made: Made) -> None:
        self._room.made(made)
        self._record.add(made)
        if problem := self._record.problem():
            self._room.tell(messages.error(problem))
        self._load()

    def stands(self, chunks: int, picture: Image.Image | None) -> None:
        self._room.stands(chunks, picture)

    def working(self, chunk: int, step: int, steps: int) -> None:
        self._room.working(chunk, step, steps)

    def changed(self) -> None:
        self._room.changed()

    def note(self, text: str) -> None:
        self._room.note(text)

    def _look(self) -> None:
        raise_if_interrupted()
        self._place.require_company()
        if self._place.is_left and self._walk is not None:
            self._walk.stop()

    def _report(self, progress: Progress) -> None:
        self._look()
        self._bar.update(progress.step)


def walked(start: World, world: World) -> Trajectory:
    """The path of a live walk from `start` to `world`, as a Streaming Sampler takes it; raises `InputError` if none.

    It begins where the walk left the history of `start`.
    """
    shared = sum(before is now for before, now in zip(start.history, world.history, strict=False))
    if shared == world.chunks:
        raise InputError(NOTHING)
    # In a world that goes on, a path's first pose falls on the last latent's.
    path = world.path
    return path[max(0, shared * path.chunk_latents - 1) :]


def said(world: World) -> list[str]:
    """What is said of a walk after it: the world, and the words it was told on the way."""
    told = {chunks: prompt for chunks, prompt in told_by_chunk(world).items() if prompt and chunks < world.chunks}
    return [str(world), *(f"from chunk {chunks + 1}: {prompt}" for chunks, prompt in told.items())]


def heeds_words(pipeline: Pipeline) -> bool:
    """Whether the network takes notice of words: the built-in world does not."""
    walker = pipeline.walker
    channels = walker.network.config.latent_channels
    return channels != TINY.vae.z_dim or builtin.maker(walker.network.fingerprint, walker.vae, channels) is not TINY
