"""One aiohttp WebSocket and a room: limits, heartbeat, slow readers."""

from __future__ import annotations

from aiohttp import web

from .room import Room

HEARTBEAT = 5.0
"""Seconds between pings; half as long without an answer ends the socket."""

MOST_A_SECOND = 120
"""Messages; of more, those of keys count at the next moment, others are dropped."""

SLOWEST_SEND = 30.0
"""Seconds for one message to leave; a slower reader is let go."""


async def serve(request: web.Request, room: Room, visitor: str) -> web.WebSocketResponse:
    """Answer a request for a WebSocket with `room`, until the socket or the room closes.

    Who may come in is asked before: see `guard.same_origin` for one question.
    """
    raise NotImplementedError
