"""A room: who walks and who watches, in one live walk after another.

A room lives on an event loop: people join, leave and speak there. The walk lives on a thread of its own, to which the
room is a `Listener`; nothing of it ever waits for a socket.

room = Room(loop)                                  # any thread
walk = LiveWalk(pipeline, world, room)
room.opened(walk, heeds_words=True, can_tell=True)
walk.run()                                         # blocks; people may join before, during and after
room.ended("")
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from . import messages
from .messages import Message

if TYPE_CHECKING:
    from .walk import LiveWalk, Made

PLACE_KEPT = 5.0
"""Seconds for which the place of a walker whose socket is lost is kept."""

Role = Literal["walks", "watches"]


class Member:
    """One socket's person in a room.

    visitor: who it is, over several sockets: a browser, or the host's client.
    role: walks or watches.
    """

    visitor: str
    role: Role

    async def next(self) -> str | bytes | None:
        """The next message for this member, when there is one; None if the member has to go."""
        raise NotImplementedError


class Room:
    """See the module; `loop`: of the sockets."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, place_kept: float = PLACE_KEPT) -> None:
        raise NotImplementedError

    # Any thread.

    def opened(
        self, walk: LiveWalk, *, heeds_words: bool, can_tell: bool, on_stop: Callable[[], None] | None = None
    ) -> None:
        """A walk begins, and is what the room shows from now on. Before its `run`.

        heeds_words: whether the model takes notice of words; can_tell: whether there is a text encoder for new ones.
        on_stop: what the walker's "stop" does; default: `walk.stop`.
        """
        raise NotImplementedError

    def ended(self, text: str = "") -> None:
        """The walk has ended: all are told; text: why, if not by the walker's wish."""
        raise NotImplementedError

    def tell(self, message: dict[str, object]) -> None:
        """Send a text message (`messages.note`, …) to all."""
        raise NotImplementedError

    def alone_for(self) -> float:
        """Seconds for which nobody has been here, since the room was made at most; 0.0 while somebody is."""
        raise NotImplementedError

    # The walking thread (`walk.Listener`).

    def made(self, made: Made) -> None:
        """A chunk: its pictures are packed on another thread and sent to all."""
        raise NotImplementedError

    def working(self, chunk: int, step: int, steps: int) -> None:
        """So many denoising steps of a chunk are done."""
        raise NotImplementedError

    def changed(self) -> None:
        """The walk's place, words or state changed."""
        raise NotImplementedError

    # The loop.

    def join(self, visitor: str) -> Member:
        """Somebody comes in, and walks if nobody does; gets a snapshot of the walk."""
        raise NotImplementedError

    def leave(self, member: Member) -> None:
        """A socket is lost: keys are released, and the place is kept for a moment."""
        raise NotImplementedError

    def hear(self, member: Member, message: Message) -> None:
        """What a member says; who only watches is told so, apart from `Playing`, which is not heeded."""
        raise NotImplementedError

    def is_walker(self, visitor: str) -> bool:
        """Whether this visitor walks, or nobody does: who may begin another walk."""
        raise NotImplementedError

    def close(self) -> None:
        """Let everybody go; nobody can join."""
        raise NotImplementedError
