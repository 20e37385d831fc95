"""Live walks on the host's server: a room for each node that walks, and the route by which its person comes in."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from ...hyworld.errors import InputError
from ...hyworld.live import messages
from ...hyworld.live.guard import same_origin
from ...hyworld.live.room import Room
from ...hyworld.live.socket import serve
from ...hyworld.live.walk import LiveWalk
from .run import was_cancelled
from .screen import running_node
from .server import server

JOIN = "/hyworld/live"
RUNNING = "/hyworld/live/running"

BEGINS = "hyworld_live"
"""Message to the client that queued a node: its room is open."""

NOBODY_SECONDS = 15.0
"""For which a walk waits for its first visitor."""

LEFT_SECONDS = 30.0
"""For which it waits for somebody to come back."""

CLOSING_SECONDS = 10.0
"""After which whoever is still in the room of an ended walk is let go."""

NOBODY = (
    "Nobody came to walk: queue a Live Walk from ComfyUI's page in a browser and leave the page open, or use the "
    "Streaming Sampler, which walks a path by itself."
)


class Place:
    """Where a node of a prompt walks, for the client that queued it.

    node: its ids, as in `running_node`.
    remark: a sentence for who is here when it ends.
    """

    def __init__(self, room: Room, client: str, node: dict[str, str]) -> None:
        self.room = room
        self.client = client
        self.node = node
        self.remark = ""
        self.visited = False
        self._begun = False

    def begin(self, walk: LiveWalk, *, heeds_words: bool) -> None:
        """Show this walk from now on."""
        self.room.opened(walk, heeds_words=heeds_words)
        self._begun = True

    def end(self, reason: str) -> None:
        """Tell all that it has ended, and why if not by the walker's wish."""
        text = " ".join(filter(None, (reason, self.remark)))
        if self._begun:
            self.room.ended(text)
        else:
            self.room.tell(messages.ended(text))

    def require_company(self) -> None:
        """Raises `InputError` if nobody came in time."""
        if not self.visited and self.room.alone_for() > NOBODY_SECONDS:
            raise InputError(NOBODY)

    @property
    def is_left(self) -> bool:
        """Whether everybody has been gone for too long."""
        return self.visited and self.room.alone_for() > LEFT_SECONDS


_places: dict[tuple[str, str], Place] = {}
"""By prompt and node."""


def serve_live_walks() -> None:
    """Add the routes to the host's server. Does nothing without one (tests, scripts)."""
    host = server()
    if host is not None:
        host.routes.get(JOIN)(_join)
        host.routes.get(RUNNING)(_running)


@contextmanager
def place_of_running_node() -> Iterator[Place]:
    """A place for the node that runs in this thread; those in it are told when and why it ends.

    Raises `InputError` if no page queued it.
    """
    host, node = server(), running_node()
    client = getattr(host, "client_id", None)
    if client is None or not node:
        raise InputError(NOBODY)
    place = Place(Room(host.loop), client, node)
    key = (node["prompt_id"], node["node_id"])
    _places[key] = place
    reason = ""
    try:
        host.send_sync(BEGINS, node, client)
        yield place
    except BaseException as error:
        reason = "Cancelled." if was_cancelled(error) else str(error)
        raise
    finally:
        del _places[key]
        place.end(reason)
        # The last chunk may still be on its way to the page, which then leaves by itself.
        host.loop.call_soon_threadsafe(host.loop.call_later, CLOSING_SECONDS, place.room.close)


async def _join(request: web.Request) -> web.StreamResponse:
    """A WebSocket to the room of a node, for the client that queued it."""
    if not same_origin(request):
        origin, host = (request.headers.get(name, "no one") for name in ("Origin", "Host"))
        logging.warning(
            "HY-WorldPlay: A page of %s may not walk on %s: a proxy in between must pass on the Host header.",
            origin,
            host,
        )
        raise web.HTTPForbidden(text="This page is not of this server.")
    asked = request.query
    place = _places.get((asked.get("prompt_id", ""), asked.get("node_id", "")))
    if place is None:
        raise web.HTTPNotFound(text="Nobody walks in this node: press Run.")
    if asked.get("client_id") != place.client:
        raise web.HTTPForbidden(text="Only who queued this walk may walk.")
    place.visited = True
    return await serve(request, place.room, place.client)


async def _running(request: web.Request) -> web.Response:
    """The nodes in which a client may walk now: for a page that was loaded again."""
    client = request.query.get("client_id")
    return web.json_response([place.node for place in list(_places.values()) if place.client == client])
