"""A real server of `hyworld play` on a free port, and what a browser does with it."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from PIL import Image

from hyworld import Pipeline, World
from hyworld.live.room import Room
from hyworld.live.server import LOOPBACK, Server
from hyworld.live.walking import Walking

from .conftest import SIZE

PATIENCE = 60.0
"""Seconds for anything to happen on a busy machine."""


class Playing:
    """A running server.

    url: without token and slash.
    """

    def __init__(self, server: Server, walking: Walking, room: Room) -> None:
        self.server = server
        self.walking = walking
        self.room = room
        self.url = server.address.partition("?")[0].rstrip("/")
        self.port = int(self.url.rpartition(":")[2])

    @asynccontextmanager
    async def browser(self, **headers: str) -> AsyncIterator[Browser]:
        """A browser with its own cookies that has opened the printed address."""
        jar = aiohttp.CookieJar(unsafe=True)  # which takes cookies of an address, as browsers do
        async with aiohttp.ClientSession(self.url, cookie_jar=jar, headers={"Origin": self.url, **headers}) as session:
            async with session.get(self.server.address.removeprefix(self.url)) as answer:
                assert answer.status == 200
            async with session.get("/") as page:
                assert page.status == 200
            yield Browser(session)


class Browser:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    @asynccontextmanager
    async def page(self, **options: Any) -> AsyncIterator[Page]:
        """A page with its socket; told and seen up to the first state."""
        async with self.session.ws_connect("/live", **options) as socket:
            page = Page(socket)
            await page.told("state")
            yield page

    async def post(self, path: str, data: Any = None, **options: Any) -> tuple[int, dict[str, Any]]:
        async with self.session.post(path, data=data, **options) as answer:
            return answer.status, await answer.json()

    async def get(self, path: str) -> tuple[int, bytes]:
        async with self.session.get(path) as answer:
            return answer.status, await answer.read()


class Page:
    """A socket, and what has come over it.

    state: the newest.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.state: dict[str, Any] = {}

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send_str(json.dumps({"type": kind, **fields}))

    async def hold(self, *keys: str) -> None:
        await self.say("input", at=asyncio.get_running_loop().time() * 1000, keys=keys)

    async def told(self, kind: str, fits: Callable[[dict[str, Any]], bool] = lambda message: True) -> dict[str, Any]:
        """The next message of this kind that fits; a binary one's is its header, with the pictures as `data`."""

        async def until() -> dict[str, Any]:
            while True:
                message = await self.read()
                if message["type"] == kind and fits(message):
                    return message

        return await asyncio.wait_for(until(), PATIENCE)

    async def read(self) -> dict[str, Any]:
        """The next message."""
        message = await self.socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            told: dict[str, Any] = json.loads(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            length = int.from_bytes(message.data[:4], "little")
            told = {**json.loads(message.data[4 : 4 + length]), "data": message.data[4 + length :]}
        else:
            raise ConnectionError(f"the socket is closed ({self.socket.close_code})")
        if told["type"] == "state":
            self.state = told
        return told

    async def walk(self, chunks: int) -> None:
        """Hold a key until so many chunks came, then stand."""
        await self.hold("w")
        for _ in range(chunks):
            await self.told("chunk")
        await self.hold()
        await self.told("state", lambda state: state["state"] == "standing")


def first_world(pipeline: Pipeline) -> World:
    """The world that `playing` begins with."""
    return pipeline.start(Image.new("RGB", (90, 60), "teal"), "a street", seed=3, size=SIZE)


@asynccontextmanager
async def playing(
    pipeline: Pipeline, *, host: str = LOOPBACK, port: int = 0, place_kept: float = 0.5, **options: Any
) -> AsyncIterator[Playing]:
    """Serve a walk in a new world."""
    room = Room(asyncio.get_running_loop(), place_kept=place_kept)
    walking = Walking(pipeline, room, **options)
    server = Server(walking, room, size=SIZE, host=host, port=port)
    try:
        await asyncio.wrap_future(walking.begin(lambda: first_world(pipeline)))
        await server.start()
        yield Playing(server, walking, room)
    finally:
        await server.close()
        await asyncio.to_thread(walking.close)


def png(width: int = 90, height: int = 60) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "tomato").save(file, "PNG")
    return file.getvalue()


def form(picture: bytes | None = None, **fields: str) -> aiohttp.FormData:
    """As the page sends it."""
    data = aiohttp.FormData(fields, default_to_multipart=True)
    if picture is not None:
        data.add_field("picture", picture, filename="mine.png", content_type="image/png")
    return data


def run(doing: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine."""
    asyncio.run(asyncio.wait_for(doing, 3 * PATIENCE))
