"""One aiohttp WebSocket and a room: limits, heartbeat, slow readers."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from aiohttp import WSCloseCode, WSMsgType, web

from ..errors import InputError
from . import messages
from .member import Member
from .messages import Input
from .room import Room

HEARTBEAT = 5.0
"""Seconds between pings; half as long without an answer ends the socket."""

MOST_A_SECOND = 120
"""Messages. Of more, those of keys are put off and the newest counts; others are dropped."""

FLOOD = 10
"""Times as many: from there on nothing is read for the rest of the second, so that the sender has to wait."""

SLOWEST_SEND = 20.0
"""Seconds for one message to leave; a slower reader is let go."""


async def serve(request: web.Request, room: Room, visitor: str) -> web.WebSocketResponse:
    """Answer a request for a WebSocket with `room`, until the socket or the room closes.

    visitor: see `Member`. Who may come in is asked before: see `guard.same_origin` for one question.
    """
    # No compression: pictures are compressed, and a small message cannot become a large one.
    socket = web.WebSocketResponse(max_msg_size=messages.MOST_BYTES, heartbeat=HEARTBEAT, compress=False)
    await socket.prepare(request)
    member = room.join(visitor)
    sending = asyncio.create_task(_send(socket, request, member))
    ear = _Ear(room, member)
    try:
        async for message in socket:
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                ear.hear(message.data if message.type is WSMsgType.TEXT else "")
            if pause := ear.overwhelmed:
                await asyncio.sleep(pause)
    finally:
        ear.close()
        room.leave(member)
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending
        if socket.close_code == WSCloseCode.ABNORMAL_CLOSURE:
            _cut(request)
    return socket


async def _send(socket: web.WebSocketResponse, request: web.Request, member: Member) -> None:
    try:
        while (message := await member.next()) is not None:
            sent = socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message)
            await asyncio.wait_for(sent, SLOWEST_SEND)
        await asyncio.wait_for(socket.close(code=WSCloseCode.GOING_AWAY), SLOWEST_SEND)
    except (asyncio.TimeoutError, ConnectionError):
        _cut(request)


def _cut(request: web.Request) -> None:
    """End a connection without sending what waits for a reader that does not read."""
    if request.transport is not None:
        request.transport.abort()


class _Ear:
    """Passes a member's messages on to the room, at most `MOST_A_SECOND`."""

    def __init__(self, room: Room, member: Member) -> None:
        self._room = room
        self._member = member
        self._second = -1.0
        self._count = 0
        self._put_off: Input | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def overwhelmed(self) -> float:
        """Seconds for which nothing should be read."""
        return max(0.0, self._second + 1 - time.monotonic()) if self._count > FLOOD * MOST_A_SECOND else 0.0

    def hear(self, text: str) -> None:
        now = time.monotonic()
        if now - self._second >= 1:
            self._second, self._count = now, 0
        self._count += 1
        few = self._count <= MOST_A_SECOND
        try:
            message = messages.read(text)
        except InputError as problem:
            if few:
                self._member.tell(messages.error(str(problem)), latest="error")
            return
        if isinstance(message, Input):
            self._drop_put_off()  # this one is newer
            if not few:
                self._put_off = message
                self._timer = asyncio.get_running_loop().call_later(self._second + 1 - now, self._catch_up)
                return
        if few:
            self._room.hear(self._member, message)

    def close(self) -> None:
        self._drop_put_off()

    def _catch_up(self) -> None:
        message, self._put_off = self._put_off, None
        if message is not None:
            self._room.hear(self._member, message)

    def _drop_put_off(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._put_off = self._timer = None
