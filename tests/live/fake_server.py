"""A server that speaks the protocol of a live walk, with drawn frames in place of a network: for the view's tests.

python fake_server.py: prints its port, serves until its input ends. POST /do does to it what a test asks for.
"""

from __future__ import annotations

import asyncio
import io
import json
import math
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web
from PIL import Image, ImageDraw

REPOSITORY = Path(__file__).parents[2]
SIZE = (160, 288)
FPS = 16
STEPS = 4
MOVE, TURN = 0.08, math.radians(3)
STEP = {"w": (0, 1), "s": (0, -1), "a": (-1, 0), "d": (1, 0)}

Place = tuple[float, float, float, float, float]


def jpeg(words: str, place: Place, size: tuple[int, int] = SIZE) -> bytes:
    """A picture of a place: the horizon's colours turn with the yaw, lines come nearer with z."""
    height, width = size
    picture = Image.new("RGB", (width, height), (90, 130 + round(60 * math.sin(place[3])), 200))
    draw = ImageDraw.Draw(picture)
    draw.rectangle([0, height // 2, width, height], fill=(70, 90, 60))
    for i in range(12):
        depth = (i - place[2] * 4) % 12 + 0.3
        y = height / 2 + height / 2 / depth
        draw.line([0, y, width, y], fill=(120, 140, 100))
    for bearing in range(-180, 180, 30):
        x = width / 2 + width * (math.radians(bearing) - place[3])
        draw.line([x, height * 0.4, x, height / 2], fill=(255, 240, 200), width=2)
    draw.text((8, 8), words, fill=(255, 255, 255))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


def message(header: dict[str, Any], pictures: list[bytes], thumbnail: bytes | None = None) -> bytes:
    header = {**header, "format": "jpeg", "pictures": [len(picture) for picture in pictures]}
    if thumbnail:
        header["thumbnail"] = len(thumbnail)
    text = json.dumps(header).encode()
    return len(text).to_bytes(4, "little") + text + b"".join(pictures) + (thumbnail or b"")


class Walk:
    """One walk; the first socket walks."""

    def __init__(self) -> None:
        self.sockets: list[web.WebSocketResponse] = []
        self.heard: list[dict[str, Any]] = []
        self.posted: list[dict[str, Any]] = []
        self.computing = 0.5  # seconds a chunk
        self.can_tell = self.heeds_words = self.steers = self.takes_picture = True
        self.mute = False
        self.begin()

    def begin(self) -> None:
        self.path: list[Place] = []
        self.thumbnails: list[bytes] = []
        self.chunks = 0
        self.words = "a street"
        self.goes_on = False
        self.state = "standing"
        self.keys: list[str] = []
        self.sticks = [0.0, 0.0, 0.0, 0.0]
        self.tapped: set[str] = set()
        self.since: float | None = None
        self.buffered_until = 0.0

    def here(self) -> Place:
        return self.path[4 * self.chunks - 1] if self.chunks else (0, 0, 0, 0, 0)

    def state_for(self, socket: web.WebSocketResponse, *, whole: bool = False, picture: bool = False) -> str:
        state = {
            "type": "state",
            "role": "walks" if socket is self.sockets[0] else "watches",
            "state": self.state,
            "chunks": self.chunks,
            "furthest": len(self.path) // 4,
            "size": SIZE,
            "fps": FPS,
            "chunk_latents": 4,
            "steers": self.steers,
            "takes_picture": self.takes_picture,
            "words": self.words,
            "heeds_words": self.heeds_words,
            "can_tell": self.can_tell,
            "goes_on": self.goes_on,
            "seed": "7",
            "speeds": {"move": MOVE, "turn": 3},
            "picture": picture,
        }
        return json.dumps({**state, "path": self.path} if whole else state)

    async def tell_state(self, *, picture: bool = False) -> None:
        for socket in list(self.sockets):
            await self.tell(socket, self.state_for(socket, picture=picture))
            if picture:
                await self.tell(socket, self.still())

    async def welcome(self, socket: web.WebSocketResponse) -> None:
        await self.tell(socket, self.state_for(socket, whole=True, picture=True))
        await self.tell(socket, message({"type": "thumbnails", "first": 0}, self.thumbnails))
        await self.tell(socket, self.still())

    def still(self) -> bytes:
        return message({"type": "picture"}, [jpeg(f"after {self.chunks}", self.here())])

    async def tell(self, socket: web.WebSocketResponse, what: str | bytes) -> None:
        with suppress(ConnectionError):
            await (socket.send_str(what) if isinstance(what, str) else socket.send_bytes(what))

    async def say(self, **fields: Any) -> None:
        for socket in list(self.sockets):
            await self.tell(socket, json.dumps(fields))

    async def hear(self, socket: web.WebSocketResponse, said: dict[str, Any]) -> None:
        self.heard.append(said)
        if self.mute:
            return
        kind = said["type"]
        if kind == "input":
            self.tapped |= set(said["keys"])
            self.keys = said["keys"]
            self.sticks = [*said["move"], *said["turn"]]
            self.since = said["at"]
            await self.tell(socket, json.dumps({"type": "heard", "at": said["at"]}))
        elif kind == "playing":
            self.buffered_until = time.monotonic() + said["left"]
        elif kind == "goes_on":
            self.goes_on = said["on"]
            await self.tell_state()
        elif kind == "words":
            self.words = said["text"]
            await self.tell_state()
        elif kind == "back":
            self.chunks = said["chunks"]
            await self.tell_state(picture=True)
        elif kind == "stop":
            self.state = "stopped"
            await self.say(type="ended", text="")

    async def walk(self) -> None:
        while True:
            await asyncio.sleep(0.01)
            soon = time.monotonic() + self.computing + 0.15 > self.buffered_until
            wanted = self.keys or self.tapped or any(self.sticks) or self.goes_on
            if not self.sockets or not wanted or not soon or self.state == "stopped":
                if self.state == "computing" and not wanted:
                    self.state = "standing"
                    await self.tell_state()
                continue
            if self.state == "standing":
                self.state = "computing"
                await self.tell_state()
            await self.chunk()

    async def chunk(self) -> None:
        chunk = self.chunks
        keys = sorted({*self.keys, *self.tapped})
        self.tapped, since, self.since = set(), self.since, None
        sticks = self.sticks
        for step in range(STEPS):
            await self.say(type="working", chunk=chunk, step=step + 1, of=STEPS)
            await asyncio.sleep(self.computing / STEPS)
            if self.chunks != chunk:
                return
        places = []
        place = self.here()
        for _ in range(4):
            x, y, z, yaw, pitch = place
            yaw += TURN * (("right" in keys) - ("left" in keys) + sticks[2])
            pitch += TURN * (("up" in keys) - ("down" in keys) + sticks[3])
            right = sum(STEP.get(key, (0, 0))[0] for key in keys) + sticks[0]
            ahead = sum(STEP.get(key, (0, 0))[1] for key in keys) + sticks[1]
            x += MOVE * (right * math.cos(yaw) + ahead * math.sin(yaw))
            z += MOVE * (ahead * math.cos(yaw) - right * math.sin(yaw))
            place = (x, y, z, yaw, pitch)
            places.append(place)
        self.path[4 * chunk :] = places
        count = 16 if chunk else 13
        pictures = [
            jpeg(f"chunk {chunk + 1} frame {i}", places[max(0, 3 - (count - 1 - i) // 4)]) for i in range(count)
        ]
        thumbnail = jpeg(str(chunk + 1), place, (48, 86))
        self.thumbnails[chunk:] = [thumbnail]
        self.chunks = chunk + 1
        inputs = [{"keys": keys, "since": since if i == 0 else None} for i in range(4)]
        header = {"type": "chunk", "chunk": chunk, "path": places, "inputs": inputs, "seconds": self.computing}
        self.buffered_until = max(self.buffered_until, time.monotonic()) + count / FPS
        for socket in list(self.sockets):
            await self.tell(socket, message(header, pictures, thumbnail))
        await self.tell_state()

    async def live(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=16 * 1024)
        await socket.prepare(request)
        self.sockets.append(socket)
        await self.welcome(socket)
        async for said in socket:
            if said.type is WSMsgType.TEXT:
                await self.hear(socket, json.loads(said.data))
        walked = socket is self.sockets[0]
        self.sockets.remove(socket)
        if walked:
            self.keys, self.sticks = [], [0.0] * 4
            await self.tell_state()
        return socket

    async def do(self, request: web.Request) -> web.Response:
        """What a test asks for: to say something, to lose sockets, to be slow."""
        asked = await request.json()
        for name in ("computing", "can_tell", "heeds_words", "steers", "takes_picture", "mute"):
            if name in asked:
                setattr(self, name, asked[name])
        if "end" in asked:
            await self.say(type="ended", text=asked["end"])
            for socket in list(self.sockets):
                await socket.close()
        if asked.get("drop"):
            for socket in list(self.sockets):
                assert socket._req is not None
                assert socket._req.transport is not None
                socket._req.transport.abort()
        await self.tell_state()
        if "say" in asked:
            await self.say(**asked["say"])
        return web.json_response({})

    async def log(self, request: web.Request) -> web.Response:
        about = {"heard": self.heard, "posted": self.posted, "sockets": len(self.sockets), "chunks": self.chunks}
        return web.json_response({**about, "state": self.state, "path": self.path, "keys": self.keys})

    async def post_begin(self, request: web.Request) -> web.Response:
        form = await request.post()
        fields = {name: value if isinstance(value, str) else value.filename for name, value in form.items()}
        self.posted.append(fields)
        if fields.get("seed") == "13":
            return web.json_response({"error": "The seed 13 is not for walking."}, status=400)
        self.begin()
        for socket in list(self.sockets):
            await self.welcome(socket)
        return web.json_response({})

    async def post_world(self, request: web.Request) -> web.Response:
        self.posted.append({"world": len(await request.read())})
        return web.json_response({})


async def page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(REPOSITORY / "web" / "play" / "index.html")


async def serve() -> None:
    walk = Walk()
    app = web.Application()
    app.add_routes(
        [
            web.get("/", page),
            web.get("/live", walk.live),
            web.get("/log", walk.log),
            web.post("/do", walk.do),
            web.post("/begin", walk.post_begin),
            web.post("/world", walk.post_world),
            web.static("/js", REPOSITORY / "web" / "js"),
            web.static("/play", REPOSITORY / "web" / "play"),
            web.static("/scenes", REPOSITORY / "hyworld" / "tiny_world" / "first_frames"),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", int(os.environ.get("PORT", "0")))
    await site.start()
    walking = asyncio.create_task(walk.walk())
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    walking.cancel()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve())
