"""Live preview: a finished chunk plays in the node while the next one is computed."""

from __future__ import annotations

import logging
import threading
import time
from typing import Protocol
from weakref import WeakValueDictionary

from PIL import Image
from torch import Tensor

from ..hyworld.config import FRAMES_PER_SECOND

LEAVE_SECONDS = 5.0
"""How long stopping a player waits for its thread."""


class Screen(Protocol):
    def show(self, picture: Image.Image) -> bool:
        """Show one picture; returns whether more are wanted."""


_players: WeakValueDictionary[str, PreviewPlayer] = WeakValueDictionary()
"""The last player of each place."""


class PreviewPlayer:
    """Context manager that plays frames at `fps` on its own thread; a newer chunk replaces the rest of an older one.

    Leaving does not wait: the last chunk plays to its end, then the thread ends. After an error it ends at once. If the
    screen raises, only the preview ends, with a warning. `place`: where the screen is; a new player there ends the old
    one.
    """

    def __init__(self, screen: Screen, place: str = "", fps: float = FRAMES_PER_SECOND) -> None:
        self._screen = screen
        self._place = place
        self._pause = 1.0 / fps
        self._frames: list[Tensor] = []
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._play, name="hyworld-preview", daemon=True)

    def play(self, frames: Tensor) -> None:
        """Start to play uint8 frames `[F, H, W, 3]`; returns at once."""
        with self._changed:
            self._frames = list(frames)
            self._changed.notify()

    def __enter__(self) -> PreviewPlayer:
        before = _players.get(self._place)
        if before is not None:
            before.stop()
        _players[self._place] = self
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.stop()
        with self._changed:
            self._ended = True
            self._changed.notify()

    def stop(self) -> None:
        """Show nothing more; waits at most `LEAVE_SECONDS` for a picture on its way."""
        with self._changed:
            self._frames.clear()
            self._ended = True
            self._changed.notify()
        self._thread.join(timeout=LEAVE_SECONDS)

    def _play(self) -> None:
        while True:
            with self._changed:
                while not self._frames and not self._ended:
                    self._changed.wait()
                if not self._frames:
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
                rest, left = self._frames, began + self._pause - time.monotonic()
                self._changed.wait_for(lambda rest=rest: not rest or self._frames is not rest, max(left, 0))
