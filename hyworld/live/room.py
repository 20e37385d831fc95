"""A room: who walks and who watches, in one live walk after another.

A room lives on an event loop: people join, leave and speak there. The walk lives on a thread of its own, to which the
room is a `Listener`; nothing of it ever waits for a socket.

room = Room(loop)                                  # any thread
walk = LiveWalk(pipeline, world, room)
room.opened(walk, heeds_words=True)
walk.run()                                         # blocks; people may join before, during and after
room.ended("")
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from PIL import Image

from ..errors import InputError
from . import messages
from .controls import Held
from .member import Member
from .messages import GoBack, GoesOn, Input, Message, Playing, Say
from .show import Show
from .walk import LiveWalk, Made

PLACE_KEPT = 5.0
"""Seconds for which the place of a walker whose socket is lost is kept."""

WATCHING = "Somebody else walks here: your turn comes when they leave."


class Room:
    """See the module; `loop`: of the sockets."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, place_kept: float = PLACE_KEPT) -> None:
        self._loop = loop
        self._place_kept = place_kept
        self._alone_since: float | None = time.monotonic()
        self._being_walked: Show | None = None  # the walking thread's
        self._show: Show | None = None  # the loop's
        self._on_stop: Callable[[], None] = lambda: None
        self._members: list[Member] = []
        self._walker: Member | None = None
        self._kept_for = ""  # the visitor who walked, while the place is kept
        self._waits = False  # for somebody to walk, before time goes on by itself
        self._vacant: asyncio.TimerHandle | None = None
        self._closed = False

    # Any thread.

    def opened(self, walk: LiveWalk, *, heeds_words: bool, on_stop: Callable[[], None] | None = None) -> None:
        """A walk begins, and is what the room shows from now on. Before its `run`.

        One that is not steered and goes on by itself waits until somebody walks.

        heeds_words: whether the model takes notice of words.
        on_stop: what the walker's "stop" does; default: `walk.stop`.
        """
        waits = walk.goes_on and not walk.steers
        if waits:
            walk.set_goes_on(False)
        show = Show(self._loop, walk, self._members, heeds_words=heeds_words)
        self._being_walked = show
        self._post(self._open, show, on_stop or walk.stop, waits)

    def ended(self, text: str = "") -> None:
        """The walk has ended: all are told, after its last chunk; text: why, if not by the walker's wish."""
        self._shown.ended(text)

    def tell(self, message: dict[str, Any]) -> None:
        """Send a text message (`messages.note`, …) to all."""
        self._post(self._tell, message)

    def alone_for(self) -> float:
        """Seconds for which nobody has been here, since the room was made at most; 0.0 while somebody is."""
        since = self._alone_since
        return 0.0 if since is None else time.monotonic() - since

    def close(self) -> None:
        """Let everybody go, after what waits to be sent to them; nobody can join."""
        self._post(self._close)

    # The walking thread (`walk.Listener`).

    def made(self, made: Made) -> None:
        """A chunk: its frames are encoded on other threads and sent to all."""
        self._shown.made(made)

    def stands(self, chunks: int, picture: Image.Image | None) -> None:
        """One stands where the world has so many chunks, and sees this."""
        self._shown.stands(chunks, picture)

    def working(self, chunk: int, step: int, steps: int) -> None:
        """So many denoising steps of a chunk are done."""
        self._shown.working(chunk, step, steps)

    def changed(self) -> None:
        """The walk's place, words or state changed."""
        self._shown.changed()

    def note(self, text: str) -> None:
        """A sentence for who walks."""
        self._shown.note(text)

    # The loop.

    def join(self, visitor: str) -> Member:
        """Somebody comes in, and walks if nobody does; gets a snapshot of the walk."""
        member = Member(visitor)
        if self._closed:
            member.let_go()
            return member
        self._members.append(member)
        self._alone_since = None
        if self.may_begin(visitor) and self._walker is None:
            self._seat(member)
        if self._show is not None:
            self._show.welcome(member)
        return member

    def leave(self, member: Member) -> None:
        """A socket is lost: keys are released, and the place is kept for a moment."""
        member.let_go()
        if member not in self._members:
            return
        self._members.remove(member)
        if not self._members:
            self._alone_since = time.monotonic()
        if member is not self._walker:
            return
        self._walker = None
        if self._show is not None:
            self._show.walk.hold(Held(None))
        again = next((other for other in self._members if other.visitor == member.visitor), None)
        if again is not None:  # was back before the lost socket was known to be lost
            self._promote(again)
        else:
            self._kept_for = member.visitor
            self._vacant = self._loop.call_later(self._place_kept, self._give_away)

    def hear(self, member: Member, message: Message) -> None:
        """What a member says; who only watches is told that they do."""
        show = self._show
        if show is None or self._closed:
            return
        if member is not self._walker:
            if not isinstance(message, (Input, Playing)):
                member.tell(messages.error(WATCHING))
            return
        walk = show.walk
        try:
            if isinstance(message, Input):
                walk.hold(message.held)
                member.tell(messages.heard(message.at), latest="heard")
            elif isinstance(message, Playing):
                walk.playing(message.chunk, message.left)
            elif isinstance(message, GoesOn):
                walk.set_goes_on(message.on)
            elif isinstance(message, Say):
                walk.say(message.text)
            elif isinstance(message, GoBack):
                walk.go_back(message.chunks)
            else:
                self._on_stop()
        except InputError as problem:
            member.tell(messages.error(str(problem)))

    def may_begin(self, visitor: str) -> bool:
        """Whether this visitor may begin another walk: they walk, or nobody does."""
        holder = self._kept_for if self._walker is None else self._walker.visitor
        return holder in ("", visitor)

    @property
    def picture(self) -> bytes | None:
        """Where one stands, as a JPEG, if there is anything to see."""
        return None if self._show is None else self._show.picture

    @property
    def _shown(self) -> Show:
        assert self._being_walked is not None, "no walk was opened"
        return self._being_walked

    def _post(self, action: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is there to be told
            self._loop.call_soon_threadsafe(action, *arguments)

    def _open(self, show: Show, on_stop: Callable[[], None], waits: bool) -> None:
        if self._show is not None:
            self._show.close()
        self._show, self._on_stop, self._waits = show, on_stop, waits
        self._let_go_on()
        for member in self._members:
            member.forget()
            show.welcome(member)

    def _close(self) -> None:
        self._closed = True
        if self._show is not None:
            self._show.close()
        if self._vacant is not None:
            self._vacant.cancel()
        for member in self._members:
            member.let_go()

    def _seat(self, member: Member) -> None:
        """The member walks from now on."""
        if self._vacant is not None:
            self._vacant.cancel()
        self._kept_for, self._vacant = "", None
        self._walker, member.role = member, "walks"
        self._let_go_on()

    def _let_go_on(self) -> None:
        """Let time go on if it has waited for the walker."""
        if self._waits and self._walker is not None and self._show is not None:
            self._waits = False
            self._show.walk.set_goes_on(True)

    def _promote(self, member: Member) -> None:
        self._seat(member)
        if self._show is not None:
            self._show.tell_state(member)

    def _give_away(self) -> None:
        """Nobody came back for the place."""
        self._kept_for, self._vacant = "", None
        if self._members:
            self._promote(self._members[0])
        elif self._show is not None:
            self._show.walk.set_goes_on(False)

    def _tell(self, message: dict[str, Any]) -> None:
        for member in self._members:
            member.tell(message)
