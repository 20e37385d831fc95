"""Live preview: a finished chunk plays in the node while the next one is computed, and never holds it up."""

from __future__ import annotations

import contextvars
import threading
import time
from typing import Protocol

from PIL import Image
from torch import Tensor

from ..hyworld.config import FRAMES_PER_SECOND


class Screen(Protocol):
    """Where pictures go."""

    def show(self, picture: Image.Image) -> None:
        """Show one picture."""


class PreviewPlayer:
    """Plays frames at the video's pace on a thread of its own; a newer chunk replaces what is left of an older one.

    Use it as a context manager; leaving it ends the thread. What the host raises in the thread (its progress
    hook is where it notices an interrupt) is kept and raised by `check` in the thread that samples.
    """

    def __init__(self, screen: Screen, fps: float = FRAMES_PER_SECOND) -> None:
        self._screen = screen
        self._pause = 1.0 / fps
        self._frames: list[Tensor] = []
        self._changed = threading.Condition()
        self._ended = False
        self._error: BaseException | None = None
        # The host finds out which node reports through a context variable, which a new thread would lack.
        self._thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self._play,), name="hyworld-preview", daemon=True
        )

    def play(self, frames: Tensor) -> None:
        """Play uint8 frames `[F, H, W, 3]` from now on; returns at once."""
        with self._changed:
            self._frames = list(frames)
            self._changed.notify()

    def check(self) -> None:
        """Raise what was raised in the preview thread."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def __enter__(self) -> PreviewPlayer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(timeout=5)

    def _play(self) -> None:
        while True:
            with self._changed:
                while not self._frames and not self._ended:
                    self._changed.wait()
                if self._ended:
                    return
                frame = self._frames.pop(0)
            began = time.monotonic()
            try:
                self._screen.show(Image.fromarray(frame.numpy()))
            except BaseException as error:
                self._error = error
                return
            with self._changed:
                left = self._pause - (time.monotonic() - began)
                if left > 0 and not self._ended:
                    self._changed.wait(timeout=left)
