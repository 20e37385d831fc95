"""Live preview: a finished chunk plays in the node while the next one is computed."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from typing import Protocol

from PIL import Image
from torch import Tensor

from ..hyworld.config import FRAMES_PER_SECOND

LEAVE_SECONDS = 5.0
"""How long leaving a player waits for its thread."""


class Screen(Protocol):
    def show(self, picture: Image.Image) -> bool:
        """Show one picture; returns whether more are wanted."""


class PreviewPlayer:
    """Context manager that plays frames at `fps` on its own thread; a newer chunk replaces the rest of an older one.

    Leaving waits at most `LEAVE_SECONDS` for the thread. If the screen raises, only the preview ends, with a warning.
    """

    def __init__(self, screen: Screen, fps: float = FRAMES_PER_SECOND) -> None:
        self._screen = screen
        self._pause = 1.0 / fps
        self._frames: list[Tensor] = []
        self._changed = threading.Condition()
        self._ended = False
        # The host identifies the reporting node by a context variable, which a new thread would lack.
        self._thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self._play,), name="hyworld-preview", daemon=True
        )

    def play(self, frames: Tensor) -> None:
        """Start to play uint8 frames `[F, H, W, 3]`; returns at once."""
        with self._changed:
            self._frames = list(frames)
            self._changed.notify()

    def __enter__(self) -> PreviewPlayer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(timeout=LEAVE_SECONDS)

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
                if not self._screen.show(Image.fromarray(frame.numpy())):
                    return
            except Exception as error:
                logging.warning("HY-WorldPlay: The preview ended because a picture could not be shown (%r).", error)
                return
            with self._changed:
                left = self._pause - (time.monotonic() - began)
                if left > 0 and not self._ended:
                    self._changed.wait(timeout=left)
