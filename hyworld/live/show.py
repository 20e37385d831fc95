"""What a room shows of one live walk: its state, thumbnails, where one stands, and news in the order they happened."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from PIL import Image

from ..walk import World
from . import messages
from .member import Member
from .path import path_of
from .pictures import Pictured, Pictures, encode, picture_message, thumbnails_message
from .walk import LiveWalk, Made, State

THUMBNAILS_AT_ONCE = 64
"""In a message to who joins."""

MOST_THUMBNAILS = 1024
"""For who joins: of the newest chunks, some megabytes."""

Action = Callable[[], None]


class _Now(NamedTuple):
    """A live walk's properties at one moment."""

    world: World
    furthest: World
    state: State
    words: str
    goes_on: bool


class _News:
    """Something that has happened; `tell` is there once its pictures are encoded."""

    def __init__(self, tell: Action | None = None) -> None:
        self.tell = tell


class Show:
    """The walking thread says what happens, the event loop tells everybody, in the same order.

    members: who is told.
    heeds_words: whether the model takes notice of words.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, walk: LiveWalk, members: Sequence[Member], *, heeds_words: bool
    ) -> None:
        self.walk = walk
        self._loop = loop
        self._members = members
        self._heeds_words = heeds_words
        self._news: deque[_News] = deque()
        self._pictures = Pictures()
        self._closed = False
        # What who joins is told; as of the news told last.
        self._now = _now(walk)
        self._picture: bytes | None = None
        self._last: list[bytes | None] = [None] * self._now.furthest.chunks
        self._thumbnails = [b""] * self._now.furthest.chunks
        self._end: str | None = None

    # The walking thread.

    def made(self, made: Made) -> None:
        news, index = _News(), made.chunk.index
        self._happens(news)
        self._pictures.add(made, lambda chunk: self._post(self._is_ready, news, lambda: self._tell_chunk(index, chunk)))

    def stands(self, chunks: int, picture: Image.Image | None) -> None:
        news, now = _News(), _now(self.walk)
        self._happens(news)
        self._post(self._encode_place, news, now, chunks, picture)

    def changed(self) -> None:
        now = _now(self.walk)
        self._happens(_News(lambda: self._tell_state(now)))

    def working(self, chunk: int, step: int, steps: int) -> None:
        message = messages.working(chunk, step, steps)
        self._happens(_News(lambda: self._tell(message, latest="working")))

    def note(self, text: str) -> None:
        self._happens(_News(lambda: self._tell(messages.note(text))))

    def ended(self, text: str) -> None:
        self._happens(_News(lambda: self._tell_end(text)))

    # The loop.

    @property
    def picture(self) -> bytes | None:
        """Where one stands, as a JPEG, if there is anything to see."""
        return self._picture

    def welcome(self, member: Member) -> None:
        """Tell a member all there is to know."""
        self.tell_state(member, whole=True)
        for first in range(max(0, len(self._thumbnails) - MOST_THUMBNAILS), len(self._thumbnails), THUMBNAILS_AT_ONCE):
            member.show(thumbnails_message(first, self._thumbnails[first : first + THUMBNAILS_AT_ONCE]))
        if self._picture is not None:
            member.show(picture_message(self._picture), latest="picture")
        if self._end is not None:
            member.tell(messages.ended(self._end))

    def tell_state(self, member: Member, *, whole: bool = False, picture: bool = False) -> None:
        """whole: with the path; picture: whether the next message is the picture of where one stands."""
        now = self._now
        state: dict[str, Any] = {
            "type": "state",
            "role": member.role,
            "state": "stopped" if self._end is not None else now.state,
            "chunks": now.world.chunks,
            "furthest": now.furthest.chunks,
            "size": list(now.world.size),
            "fps": self.walk.recipe.frames_per_second,
            "chunk_latents": self.walk.recipe.chunk_latents,
            "steers": self.walk.steers,
            "takes_picture": self.walk.recipe.picture is not None,
            "words": now.words,
            "heeds_words": self._heeds_words,
            "can_tell": self.walk.can_tell,
            "goes_on": now.goes_on,
            "seed": str(now.world.seed),
            "speeds": {"move": self.walk.speeds.move, "turn": self.walk.speeds.turn_deg},
            "picture": picture or (whole and self._picture is not None),
        }
        if whole:
            state["path"] = path_of(now.furthest.path)
        # A newer state replaces one that waits, but not one with the path, nor that of the picture behind it.
        member.tell(state, latest="" if whole or state["picture"] else "state")

    def close(self) -> None:
        """Nothing more is told."""
        if self._closed:
            return
        self._closed = True
        self._news.clear()
        self._loop.run_in_executor(None, self._pictures.close)

    def _happens(self, news: _News) -> None:
        self._post(self._add, news)

    def _post(self, action: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is there to be told
            self._loop.call_soon_threadsafe(action, *arguments)

    def _add(self, news: _News) -> None:
        self._news.append(news)
        self._tell_news()

    def _is_ready(self, news: _News, tell: Action) -> None:
        news.tell = tell
        self._tell_news()

    def _tell_news(self) -> None:
        while not self._closed and self._news and (tell := self._news[0].tell) is not None:
            self._news.popleft()
            tell()

    def _encode_place(self, news: _News, now: _Now, chunks: int, picture: Image.Image | None) -> None:
        def ready(encoded: bytes | None) -> None:
            self._is_ready(news, lambda: self._tell_place(now, chunks, encoded))

        if picture is None:
            ready(None)
        else:
            future = self._loop.run_in_executor(None, encode, picture)
            future.add_done_callback(lambda done: ready(None if done.exception() else done.result()))

    def _tell_chunk(self, index: int, chunk: Pictured | None) -> None:
        # What followed where this chunk begins was another way.
        del self._last[index:], self._thumbnails[index:]
        if chunk is None:
            self._last.append(None)
            self._thumbnails.append(b"")
            return
        self._last.append(chunk.last)
        self._thumbnails.append(chunk.thumbnail)
        self._picture = chunk.last
        for member in self._members:
            member.show_chunk(chunk.message)

    def _tell_place(self, now: _Now, chunks: int, picture: bytes | None) -> None:
        known = self._last[chunks - 1] if 0 < chunks <= len(self._last) else None
        self._now, self._picture = now, picture or known
        for member in self._members:
            self.tell_state(member, picture=self._picture is not None)
            if self._picture is not None:
                member.show(picture_message(self._picture), latest="picture")

    def _tell_state(self, now: _Now) -> None:
        self._now = now
        for member in self._members:
            self.tell_state(member)

    def _tell_end(self, text: str) -> None:
        self._end = text
        self._tell(messages.ended(text))
        self.close()

    def _tell(self, message: dict[str, Any], *, latest: str = "") -> None:
        for member in self._members:
            member.tell(message, latest=latest)


def _now(walk: LiveWalk) -> _Now:
    return _Now(walk.world, walk.furthest, walk.state, walk.words, walk.goes_on)
