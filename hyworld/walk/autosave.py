"""Save a world while it grows, so that a crash costs few chunks."""

from __future__ import annotations

import warnings
from concurrent.futures import Future, wait
from pathlib import Path
from types import TracebackType

from PIL import Image
from torch import Tensor

from ..apart import apart
from ..atomic import check_new_file, discard, undisturbed
from ..errors import InputError
from . import file
from .world import Chunk, World


class Autosave:
    """A context manager around a walk: `keep` gets each of its chunks.

    Every few chunks the world is saved to `part` (walk.part.world, or walk.part-2.world, … if that exists), on a thread
    of its own. On exit, also by an exception, the world goes to `target`, and `part` away. Without a target, `part`
    goes when the walk ended well, and stays, with all chunks, when it did not. A walk may go back: from there on its
    new way is kept.

    path: of the file that is left, or None; final on exit.
    chunks: of the world in it.
    every: in chunks; 0 saves nothing on the way. While a save takes longer than that, the next one waits.
    keeps: leave `part`, once there is one, when the walk ended well too.

    Raises `InputError` if `target` has another ending, exists without `overwrite`, or lies in no folder.
    """

    def __init__(
        self, part: Path, *, every: int, target: Path | None = None, overwrite: bool = False, keeps: bool = False
    ) -> None:
        if target is not None:
            check_new_file(target, file.SUFFIX, overwrite=overwrite)
        self.path: Path | None = None
        self.chunks = 0
        self._part = part
        self._every = every
        self._target = target
        self._overwrite = overwrite
        self._keeps = keeps
        self._saved: World | None = None
        self._last: Chunk | None = None
        self._due: int | None = None
        self._failed = False
        self._saving: Future[None] | None = None

    def keep(self, chunk: Chunk) -> None:
        """Note a chunk, and save its world if it is time; warns once if that fails."""
        goes_back = self._last is not None and chunk.index <= self._last.index
        self._last = chunk
        if self._due is None or goes_back:
            self._due = chunk.index + self._every
        if not self._every or chunk.world.chunks < self._due or (self._saving and not self._saving.done()):
            return
        self._due = chunk.world.chunks + self._every
        self._saving = apart(self._save_part, chunk)

    def __enter__(self) -> Autosave:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with undisturbed():
            if self._saving is not None:
                wait([self._saving])
            if self._last is None:
                return
            if self._target is not None:
                self._publish(self._last, self._target)
            elif kind is None and not (self._keeps and self.path is not None):
                self._discard_part()
            elif self._every and self._saved is not self._last.world:
                self._save_part(self._last)

    def _save_part(self, chunk: Chunk) -> None:
        """On the thread, or when that has ended."""
        known = self.path
        try:
            self.path = _save(chunk, known or self._part, overwrite=known is not None, or_next=known is None)
            self.chunks = chunk.world.chunks
            self._saved = chunk.world
        except InputError as error:
            if not self._failed:
                warnings.warn(f"{error} The walk goes on without saving it.", stacklevel=2)
            self._failed = True

    def _publish(self, chunk: Chunk, target: Path) -> None:
        try:
            written = _save(chunk, target, overwrite=self._overwrite)
        except InputError as error:
            self._save_part(chunk)
            kept = f" This world is kept as {self.path}." if self.path else ""
            raise InputError(f"{error}{kept}") from error
        self._discard_part()
        self.path, self.chunks = written, chunk.world.chunks

    def _discard_part(self) -> None:
        if self.path is not None:
            discard(self.path)
        self.path = None


def _save(chunk: Chunk, path: Path, *, overwrite: bool = False, or_next: bool = False) -> Path:
    return file.save(chunk.world, path, thumbnail=_picture(chunk.frames), overwrite=overwrite, or_next=or_next)


def _picture(frames: Tensor | None) -> Image.Image | None:
    """The last of the frames."""
    return None if frames is None else Image.fromarray(frames[-1].numpy())
