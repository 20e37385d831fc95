"""One socket's person in a room, and what waits to be sent to them: bounded, whatever their reader does."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Literal

from .messages import without_frames

MOST_CHUNKS = 2
"""Chunks that wait with their frames; older ones go without."""

MOST_WAITING = 400
"""Messages. Whoever is so far behind is let go: they can come back for a snapshot."""

Role = Literal["walks", "watches"]


@dataclass
class _Waiting:
    data: str | bytes
    latest: str = ""
    frames: bool = False


class Member:
    """Lives on the event loop.

    visitor: who it is, over several sockets: a browser, or the host's client.
    role: walks or watches.
    """

    def __init__(self, visitor: str) -> None:
        self.visitor = visitor
        self.role: Role = "watches"
        self._waiting: list[_Waiting] = []
        self._news = asyncio.Event()
        self._gone = False

    def tell(self, message: dict[str, Any], *, latest: str = "") -> None:
        """Send a text message. latest: a kind of message of which older ones are not worth sending."""
        self._put(_Waiting(json.dumps(message, separators=(",", ":")), latest))

    def show(self, message: bytes, *, latest: str = "") -> None:
        """Send a binary message."""
        self._put(_Waiting(message, latest))

    def show_chunk(self, message: bytes, most: int = MOST_CHUNKS) -> None:
        """Send a chunk, whose frames are left out if this reader is too slow for them.

        most: chunks that may wait with their frames.
        """
        self._put(_Waiting(message, frames=True))
        for waiting in [waiting for waiting in self._waiting if waiting.frames][:-most]:
            assert isinstance(waiting.data, bytes)
            waiting.data, waiting.frames = without_frames(waiting.data), False

    def forget(self) -> None:
        """Drop what waits: another walk begins."""
        self._waiting.clear()

    def let_go(self) -> None:
        """Send what waits and no more."""
        self._gone = True
        self._news.set()

    async def next(self) -> str | bytes | None:
        """The next message for this member, when there is one; None if they have to go."""
        while not self._waiting:
            if self._gone:
                return None
            self._news.clear()
            await self._news.wait()
        return self._waiting.pop(0).data

    def _put(self, message: _Waiting) -> None:
        if self._gone:
            return
        if message.latest:
            self._waiting = [waiting for waiting in self._waiting if waiting.latest != message.latest]
        if len(self._waiting) >= MOST_WAITING:
            self.forget()
            self.let_go()
            return
        self._waiting.append(message)
        self._news.set()
