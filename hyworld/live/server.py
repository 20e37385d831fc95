"""The server of `hyworld play`: a page, its files, the socket of its walk, and what is saved and loaded."""

from __future__ import annotations

import asyncio
import errno
import io
import ipaddress
import json
import secrets
import socket as sockets
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from aiohttp import web
from PIL import Image

from .. import builtin
from ..apart import apart
from ..errors import InputError
from ..walk import World
from . import socket
from .files import PAGE, TYPES, page_files
from .guard import Pass, from_elsewhere, give_cookie, loopback_host, same_origin
from .room import Room
from .uploads import Begin, TooLargeError, load_upload, open_upload, read_begin, read_world
from .walking import Walking

LOOPBACK = "127.0.0.1"

MOST_SOCKETS = 32
"""Open at the same time."""

PORTS_TRIED = 20
"""From the one asked for on."""

LONGEST_UPLOAD = 600.0
"""Seconds."""

SAVES_AT_ONCE = 4
"""Each has a file of its own until it is sent."""

NOT_WALKING = "Somebody else walks here: only who walks can begin another walk."

_PIECE = 1 << 18

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Serves `walking` and its `room` to browsers; all methods on the room's event loop.

    port: 0: any; else that one or the next free one.
    host: an address or name to listen on. For others than `LOOPBACK`, who comes needs a token.
    size: (height, width) of worlds that the page begins.
    address: to open in a browser, with the token if there is one; once it runs.

    Raises `InputError` if the page is missing, and `start` if it cannot listen.
    """

    def __init__(
        self, walking: Walking, room: Room, *, size: tuple[int, int], host: str = LOOPBACK, port: int = 0
    ) -> None:
        self.address = ""
        self._walking = walking
        self._room = room
        self._size = size
        self._host = host
        self._port = port
        self._files = page_files()
        self._sockets = 0
        self._token: Pass | None = None
        self._visitor_cookie = ""
        self._taking = asyncio.Lock()  # one upload at a time
        self._giving = asyncio.Semaphore(SAVES_AT_ONCE)
        app = web.Application(middlewares=[self._guarded, _explained])
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/live", self._live, allow_head=False),
                web.post("/begin", self._begin),
                web.post("/world", self._load_world),
                web.get("/world", self._save_world, allow_head=False),
                web.get("/video", self._save_video, allow_head=False),
                web.get("/{file:.+}", self._file),
            ]
        )
        app.on_response_prepare.append(self._harden)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)

    async def start(self) -> None:
        """Listen; raises `InputError` if no port is free or the host is none of this machine's."""
        await self._runner.setup()
        listening = _listen(self._host, self._port)
        port = listening.getsockname()[1]
        self._visitor_cookie = f"hyworld_visitor_{port}"
        if not _is_loopback(self._host):
            self._token = Pass(f"hyworld_token_{port}")
        await web.SockSite(self._runner, listening).start()
        query = "" if self._token is None else f"?token={self._token.text}"
        self.address = f"http://{_name(self._host)}:{port}/{query}"

    async def close(self) -> None:
        """Let everybody go and stop listening."""
        self._room.close()
        await self._runner.cleanup()

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse who may not ask."""
        if self._token is None:
            if not loopback_host(request):
                raise _forbidden("This server is for this computer alone: open it as http://127.0.0.1.")
        elif not (self._token.is_in_cookie(request) or self._opens_with(self._token, request)):
            raise _forbidden("Open the whole address that hyworld play has printed, with its token.")
        acts = request.method not in ("GET", "HEAD") or request.path == "/live"
        if (acts and not same_origin(request)) or (request.path != "/" and from_elsewhere(request)):
            raise _forbidden("Only pages of this server may ask for this.")
        return await handler(request)

    def _opens_with(self, token: Pass, request: web.Request) -> bool:
        return request.path == "/" and token.is_in_address(request)

    async def _page(self, request: web.Request) -> web.StreamResponse:
        if self._token is not None and self._opens_with(self._token, request):
            # Not a redirect: when another site's page has the link, the browser would leave the cookie out.
            answer = web.Response(text=_COME_IN, content_type="text/html")
            self._token.give(answer)
            return answer
        page = await self._answer_with(PAGE)
        if self._visitor_cookie not in request.cookies:
            give_cookie(page, self._visitor_cookie, secrets.token_urlsafe(16))
        return page

    async def _file(self, request: web.Request) -> web.StreamResponse:
        return await self._answer_with(request.match_info["file"])

    async def _answer_with(self, name: str) -> web.Response:
        file = self._files.get(name)
        if file is None:
            raise web.HTTPNotFound
        kind = TYPES[file.suffix]
        body = await asyncio.to_thread(file.read_bytes)
        return web.Response(body=body, content_type=kind, charset="utf-8" if kind.startswith("text/") else None)

    async def _live(self, request: web.Request) -> web.StreamResponse:
        if self._sockets >= MOST_SOCKETS:
            raise web.HTTPServiceUnavailable(text=f"At most {MOST_SOCKETS} may walk and watch here.")
        self._sockets += 1
        try:
            return await socket.serve(request, self._room, self._visitor(request) or secrets.token_urlsafe(16))
        finally:
            self._sockets -= 1

    async def _begin(self, request: web.Request) -> web.StreamResponse:
        self._check_walks(request)
        async with self._taking:
            with TemporaryDirectory(prefix="hyworld-") as folder:
                file = Path(folder) / "picture"
                asked = await asyncio.wait_for(read_begin(request, file), LONGEST_UPLOAD)
                picture = await asyncio.to_thread(open_upload, file) if asked.picture else None
            return await self._walk_in(request, partial(self._start, asked, picture))

    async def _load_world(self, request: web.Request) -> web.StreamResponse:
        self._check_walks(request)
        async with self._taking:
            with TemporaryDirectory(prefix="hyworld-") as folder:
                file = Path(folder) / "upload.world"  # the name that errors tell
                await asyncio.wait_for(read_world(request, file), LONGEST_UPLOAD)
                world = await asyncio.wrap_future(apart(load_upload, file))
            return await self._walk_in(request, lambda: world)

    async def _walk_in(self, request: web.Request, make: Callable[[], World]) -> web.Response:
        self._check_walks(request)  # reading took a while
        world = await asyncio.wrap_future(self._walking.begin(make))
        return web.json_response({"chunks": world.chunks})

    def _start(self, asked: Begin, picture: Image.Image | None) -> World:
        """On the walking thread."""
        if picture is None and asked.scene is not None:
            picture = builtin.first_frame(asked.scene)
        return self._walking.pipeline.start(picture, asked.words, seed=asked.seed, size=self._size)

    async def _save_world(self, request: web.Request) -> web.StreamResponse:
        world = self._walking.world
        if world is None:
            raise web.HTTPNotFound
        picture = self._room.picture

        def save(file: Path) -> None:
            world.save(file, thumbnail=None if picture is None else Image.open(io.BytesIO(picture)))

        return await self._download(request, "walk.world", "application/octet-stream", save)

    async def _save_video(self, request: web.Request) -> web.StreamResponse:
        return await self._download(request, "walk.mp4", "video/mp4", self._walking.copy_video)

    async def _download(
        self, request: web.Request, name: str, kind: str, write: Callable[[Path], object]
    ) -> web.StreamResponse:
        """Have `write` fill a file, and send it."""
        async with self._giving:
            with TemporaryDirectory(prefix="hyworld-") as folder:
                file = Path(folder) / name
                await asyncio.wrap_future(apart(write, file))
                answer = web.StreamResponse(headers={"Content-Disposition": f'attachment; filename="{name}"'})
                answer.content_type, answer.content_length = kind, file.stat().st_size
                await answer.prepare(request)
                with file.open("rb") as opened:
                    while piece := await asyncio.to_thread(opened.read, _PIECE):
                        await asyncio.wait_for(answer.write(piece), socket.SLOWEST_SEND)
                await answer.write_eof()
                return answer

    def _visitor(self, request: web.Request) -> str:
        return request.cookies.get(self._visitor_cookie, "")

    def _check_walks(self, request: web.Request) -> None:
        if not self._room.may_begin(self._visitor(request)):
            raise _forbidden(NOT_WALKING)

    async def _harden(self, request: web.Request, answer: web.StreamResponse) -> None:
        answer.headers.update(_HEADERS)


@web.middleware
async def _explained(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Wrong input as JSON."""
    try:
        return await handler(request)
    except TooLargeError as problem:
        return web.json_response({"error": str(problem)}, status=413)
    except InputError as problem:
        return web.json_response({"error": str(problem)}, status=400)
    except asyncio.TimeoutError:
        return web.json_response({"error": "This took too long: try again."}, status=408)


def _forbidden(text: str) -> web.HTTPForbidden:
    return web.HTTPForbidden(text=json.dumps({"error": text}), content_type="application/json")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> sockets.socket:
    """A socket that listens at the port, or the next free one; 0: any."""
    try:
        found = sockets.getaddrinfo(host, None, type=sockets.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise InputError(f"The host {host!r} is not known: give an address of this machine, such as 0.0.0.0.") from None
    family, *_, address = min(found, key=lambda entry: entry[0] != sockets.AF_INET)  # IPv4 first
    problem: OSError | None = None
    for tried in range(port, min(port + PORTS_TRIED, 65536)) if port else (0,):
        listening = sockets.socket(family, sockets.SOCK_STREAM)
        if sys.platform != "win32":  # there it would allow another program's port to be taken
            listening.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        try:
            listening.bind((address[0], tried, *address[2:]))
            listening.listen(128)
            listening.setblocking(False)
            return listening
        except OSError as error:
            listening.close()
            problem = error
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                break
    assert problem is not None
    raise InputError(f"{host} port {port} cannot be listened at ({problem.strerror}): choose another --host or --port.")


def _name(host: str) -> str:
    """The host as others on the network may call it, for an address."""
    name = host
    if host in ("0.0.0.0", "::", ""):
        family, other = (sockets.AF_INET6, "2001:db8::1") if host == "::" else (sockets.AF_INET, "192.0.2.1")
        try:
            with sockets.socket(family, sockets.SOCK_DGRAM) as asking:
                asking.connect((other, 9))  # sends nothing: only chooses a way out
                name = asking.getsockname()[0]
        except OSError:
            name = sockets.gethostname()
    return f"[{name}]" if ":" in name else name


_COME_IN = '<!doctype html><meta http-equiv="refresh" content="0; url=/"><title>hyworld play</title>'

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer: the page runs no other code than its own, tells nobody its address, and stands in no frame."""
