"""The progress bar of a walk."""

from __future__ import annotations

from collections.abc import Callable

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..walk import Progress as WalkProgress
from .console import stderr


class WalkBar:
    """Shown while it is entered.

    first: how many chunks the world has before the walk.
    chunks: of the walk.
    steps: of a chunk.
    watch: is told instead, and nothing is shown.
    """

    def __init__(
        self, first: int, chunks: int, steps: int, watch: Callable[[WalkProgress, int, int], None] | None = None
    ) -> None:
        self._watch = watch
        self._first = first
        self._chunks = chunks
        self._steps = steps
        self._bar = Progress(
            TextColumn("chunk {task.fields[chunk]} of {task.fields[chunks]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=stderr,
            disable=watch is not None,
        )

    def show(self, progress: WalkProgress) -> None:
        """What a walk reports to."""
        chunk = progress.chunk - self._first
        done = chunk * self._steps + progress.step
        if self._watch is not None:
            self._watch(WalkProgress(chunk, progress.step), self._steps, self._chunks)
        self._bar.update(self._task, completed=done, chunk=min(chunk + 1, self._chunks))

    def __enter__(self) -> WalkBar:
        # From here on it counts the time.
        self._task = self._bar.add_task("walk", total=self._chunks * self._steps, chunk=1, chunks=self._chunks)
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
