"""What is refused, and what does no harm: the walk goes on, and memory stays flat."""

from __future__ import annotations

import asyncio
import base64
import gc
import os
import socket
import struct
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import WSServerHandshakeError

import hyworld
from hyworld import Pipeline
from hyworld.heap import give_back
from hyworld.live import guard, server
from hyworld.live import socket as live_socket
from hyworld.live.member import MOST_CHUNKS

from .browser import Page, Playing, form, playing, png, run

LIVE_HEADERS = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
WORLD = {"Content-Type": "application/octet-stream"}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Autosave writes there."""
    monkeypatch.chdir(tmp_path)


def resident() -> float:
    """Megabytes of this process in memory, server and clients together, without what the C library holds."""
    gc.collect()
    give_back()
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs /proc")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def goes_on(page: Page, chunks: int = 1) -> None:
    """The walk still walks."""
    await page.hold("w")
    for _ in range(chunks):
        await page.told("chunk")
    await page.hold()


async def request(played: Playing, text: str) -> bytes:
    """The answer to a request in just these letters."""
    reader, writer = await asyncio.open_connection("127.0.0.1", played.port)
    writer.write(text.encode("latin-1"))
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    answer = head + await reader.read(10_000)
    writer.close()
    return answer


@asynccontextmanager
async def raw_socket(played: Playing, *, buffer: int = 0) -> AsyncIterator[socket.socket]:
    """A WebSocket that does nothing by itself, neither reads nor answers pings."""
    loop = asyncio.get_running_loop()
    with socket.socket() as raw:
        if buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        raw.setblocking(False)
        await loop.sock_connect(raw, ("127.0.0.1", played.port))
        key = base64.b64encode(os.urandom(16)).decode()
        origin = f"Host: 127.0.0.1:{played.port}\r\nOrigin: {played.url}\r\n"
        hello = f"GET /live HTTP/1.1\r\n{origin}{LIVE_HEADERS}Sec-WebSocket-Key: {key}\r\n\r\n"
        await loop.sock_sendall(raw, hello.encode())
        answer = await loop.sock_recv(raw, 12)
        assert answer == b"HTTP/1.1 101", answer
        yield raw


def frame(data: bytes, *, opcode: int = 1, last: bool = True, length: int | None = None) -> bytes:
    """A client's frame; length: that its header tells."""
    told = len(data) if length is None else length
    size = bytes([0x80 | told]) if told < 126 else bytes([0x80 | 127]) + struct.pack(">Q", told)
    return bytes([(0x80 if last else 0) | opcode]) + size + bytes(4) + data


# Who may ask.


@pytest.mark.parametrize(
    "path", ["/", "/?token=", "/?token=wrong", "/?token=%F0%9F", "/play/play.js", "/world", "/video"]
)
def test_without_the_token_nothing_is_served(pipeline: Pipeline, path: str):
    async def doing() -> None:
        async with playing(pipeline, host="0.0.0.0") as played, aiohttp.ClientSession(played.url) as session:
            for cookie in ({}, {f"hyworld_token_{played.port}": "wrong"}, {f"hyworld_token_{played.port}": "é"}):
                async with session.get(path, cookies=cookie) as answer:
                    assert answer.status == 403
                    assert "Set-Cookie" not in answer.headers
            token = played.server.address.partition("token=")[2]
            if path not in ("/", "/?token=", "/?token=wrong", "/?token=%F0%9F"):
                async with session.get(f"{path}?token={token}") as answer:
                    assert answer.status == 403, "it opens the page alone"

    run(doing())


def test_the_token_comes_once_and_then_in_a_cookie(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    compared = []
    monkeypatch.setattr(guard.hmac, "compare_digest", lambda a, b: compared.append(a) or a == b)

    async def doing() -> None:
        async with playing(pipeline, host="0.0.0.0") as played:
            token = played.server.address.partition("token=")[2]
            assert len(token) >= 32
            jar = aiohttp.CookieJar(unsafe=True)
            async with aiohttp.ClientSession(played.url, cookie_jar=jar, headers={"Origin": played.url}) as session:
                with pytest.raises(WSServerHandshakeError):
                    await session.ws_connect("/live")
                async with session.post("/begin", data=form(scene="1")) as answer:
                    assert answer.status == 403
                async with session.get(f"/?token={token}") as answer:
                    (cookie,) = answer.headers.getall("Set-Cookie")
                    assert token in cookie
                    assert "HttpOnly" in cookie
                    assert "SameSite=Strict" in cookie
                    assert answer.headers["Referrer-Policy"] == "no-referrer"
                    assert token not in await answer.text()
                async with session.get("/") as answer:
                    assert answer.status == 200
                    assert token not in await answer.text()
                async with session.ws_connect("/live") as opened:
                    assert (await opened.receive_json())["role"] == "walks"
            assert token.encode() in compared, "in constant time"

    run(doing())


def test_another_name_for_this_machine_is_refused(pipeline: Pipeline):
    """DNS rebinding: a page elsewhere whose own name is answered with 127.0.0.1."""

    async def doing() -> None:
        async with playing(pipeline) as played, aiohttp.ClientSession(played.url) as session:
            for host, status in (
                (f"127.0.0.1:{played.port}", 200),
                (f"localhost:{played.port}", 200),
                (f"[::1]:{played.port}", 200),
                (f"evil.example:{played.port}", 403),
                ("127.0.0.1.evil.example", 403),
                ("", 403),
                ("[", 403),
            ):
                async with session.get("/", headers={"Host": host}) as answer:
                    assert answer.status == status, host

    run(doing())


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "https://127.0.0.1", "file://", "http://["])
def test_a_page_elsewhere_is_refused(pipeline: Pipeline, origin: str):
    async def doing() -> None:
        async with playing(pipeline) as played, aiohttp.ClientSession(played.url) as session:
            headers = {"Origin": origin} if origin else {}
            with pytest.raises(WSServerHandshakeError) as refused:
                await session.ws_connect("/live", headers=headers)
            assert refused.value.status == 403
            for path in ("/begin", "/world", "/"):
                async with session.post(path, data=form(scene="1"), headers=headers) as answer:
                    assert answer.status == 403
            for path in ("/world", "/video", "/play/play.js"):
                async with session.get(path, headers={"Sec-Fetch-Site": "cross-site"}) as answer:
                    assert answer.status == 403
            async with session.get("/", headers={"Sec-Fetch-Site": "cross-site"}) as answer:
                assert answer.status == 200, "a link"
                assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]

    run(doing())


@pytest.mark.parametrize(
    "path",
    [
        "/js/../../pyproject.toml",
        "/js/%2e%2e/%2e%2e/pyproject.toml",
        "/js/..%2f..%2fpyproject.toml",
        "/js/%252e%252e/%252e%252e/pyproject.toml",
        "/js/..\\..\\pyproject.toml",
        "/js/..%5c..%5cpyproject.toml",
        "/play/../../pyproject.toml",
        "/scenes/../tiny_world.safetensors",
        "/scenes/%2e%2e/tiny_world.safetensors",
        "/../pyproject.toml",
        "//etc/passwd",
        "/js//etc/passwd",
        "/etc/passwd",
        "/file:///etc/passwd",
        "/js/%00",
        "/js/play.js%00.png",
        "/js/package.json",
        "/js/",
        "/js",
        "http://127.0.0.1/etc/passwd",
    ],
)
def test_no_other_file_is_served(pipeline: Pipeline, path: str):
    async def doing() -> None:
        async with playing(pipeline) as played:
            head = f"Host: 127.0.0.1:{played.port}\r\nConnection: close\r\n\r\n"
            answer = await request(played, f"GET {path} HTTP/1.1\r\n{head}")
            assert answer.split(b" ", 2)[1] in (b"404", b"400"), answer[:200]
            assert b"root:" not in answer
            assert b"[project]" not in answer

    run(doing())


# Messages.


def test_messages_of_ten_megabytes(pipeline: Pipeline):
    async def doing() -> None:
        async with playing(pipeline, place_kept=30) as played, played.browser() as browser:
            async with browser.page() as page:
                await goes_on(page, 3)
            before = 0.0
            for number, opcode in enumerate((1, 2) * 8):
                if number == 4:  # by then the client here has what it needs for such a message
                    before = resident()
                async with browser.page() as page:
                    assert page.state["role"] == "walks"
                    with suppress(ConnectionError):  # it need not wait for all of it
                        await page.socket._writer.send_frame(b"x" * 10_000_000, aiohttp.WSMsgType(opcode))
                    with pytest.raises(ConnectionError):
                        while True:
                            await page.read()
                    assert page.socket.close_code in (1006, 1009)
            assert resident() < before + 80, "12 times 10 MB"
            async with browser.page() as page:
                await goes_on(page)

    run(doing())


def test_a_message_that_never_ends(pipeline: Pipeline):
    async def doing() -> None:
        loop = asyncio.get_running_loop()
        async with playing(pipeline) as played, played.browser() as browser, browser.page() as page:
            before = resident()
            for beginning in (frame(b"", length=2**62), frame(b"x", last=False)):
                async with raw_socket(played) as raw:
                    with pytest.raises(OSError):  # noqa: PT011 - broken pipe, or reset
                        await loop.sock_sendall(raw, beginning)
                        for _ in range(1000):
                            await loop.sock_sendall(raw, frame(b"x" * 10_000, opcode=0, last=False))
                            await asyncio.sleep(0)
            assert resident() < before + 20
            await goes_on(page)

    run(doing())


def test_a_thousand_messages_a_second(pipeline: Pipeline):
    async def doing() -> None:
        async with playing(pipeline) as played, played.browser() as browser, browser.page() as page:
            walk, heard = played.walking._here.walk, []
            hold = walk.hold
            walk.hold = lambda held: heard.append(held) or hold(held)
            await goes_on(page, 4)  # by then it has the memory that walking takes
            await page.told("state", lambda state: state["state"] == "standing")
            del heard[:]
            before, began = resident(), time.monotonic()
            for number in range(2000):
                await page.say("input", at=number, keys=["w"] if number % 2 else ["s"])
                await page.say("back", chunks=0)
                if number % 100 == 0:
                    await asyncio.sleep(0.1)
            await page.say("input", at=2000, keys=[])
            await page.told("heard", lambda message: message["at"] == 2000)
            seconds = time.monotonic() - began
            assert len(heard) <= (seconds + 2) * (live_socket.MOST_A_SECOND + 1)
            assert heard[-1].idle, "the newest counts"
            assert resident() < before + 30
            await page.told("state", lambda state: state["state"] == "standing")
            await goes_on(page)

    run(doing())


def test_thousands_of_binary_messages_wait_like_others(pipeline: Pipeline):
    async def doing() -> None:
        async with playing(pipeline) as played, played.browser() as browser, browser.page() as page:
            began = time.monotonic()
            for _ in range(3 * live_socket.FLOOD * live_socket.MOST_A_SECOND):
                await page.socket.send_bytes(b"x")
            await page.say("input", at=7, keys=[])
            await page.told("heard", lambda message: message["at"] == 7)
            assert time.monotonic() - began > 1.5
            await goes_on(page)

    run(doing())


@pytest.mark.parametrize(
    "message",
    [
        "",
        "[]",
        "null",
        "{",
        "{}",
        '{"type":5}',
        '{"type":"begin"}',
        '{"type":"input"}',
        '{"type":"input","at":NaN}',
        '{"type":"input","at":1e999}',
        '{"type":"input","at":1,"keys":["q"]}',
        '{"type":"input","at":1,"keys":["w","w"]}',
        '{"type":"input","at":1,"move":[1]}',
        '{"type":"back","chunks":-1}',
        '{"type":"back","chunks":99}',
        '{"type":"back","chunks":1e300}',
        '{"type":"back","chunks":true}',
        '{"type":"goes_on"}',
        '{"type":"words","text":5}',
        '{"type":"words","text":"\\ud800"}',
        '{"type":"words","text":"' + "x" * 5000 + '"}',
        '{"type":"playing","chunk":0,"left":-1}',
        "[" * 16000,
        '{"type":"back","chunks":' + "9" * 10_000 + "}",
    ],
)
def test_a_wrong_message_is_answered_with_a_sentence(pipeline: Pipeline, message: str):
    async def doing() -> None:
        async with playing(pipeline) as played, played.browser() as browser, browser.page() as page:
            await page.socket.send_str(message)
            text = (await page.told("error"))["text"]
            assert text.endswith(".")
            assert len(text) < 300
            await page.socket.send_bytes(b"\x00\xff")  # no message either
            assert (await page.told("error"))["text"].endswith(".")
            assert played.walking.world.chunks == 0

    run(doing())


# Readers.


def test_a_reader_that_does_not_read(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live_socket, "SLOWEST_SEND", 4.0)
    monkeypatch.setattr(live_socket, "HEARTBEAT", 1000.0)  # not what lets it go

    async def doing() -> None:
        async with playing(pipeline) as played, played.browser() as browser, browser.page() as page:
            await page.told("picture")
            async with raw_socket(played, buffer=4096):
                while len(played.room._members) < 2:
                    await asyncio.sleep(0.02)
                member = played.room._members[1]
                show = member.show_chunk
                member.show_chunk = lambda message, most: show(pad(message), most)
                await page.hold("w")
                most = 0
                while member in played.room._members:
                    chunk = await page.told("chunk")
                    assert len(chunk["pictures"]) >= 13, "the walker has every frame"
                    waiting = member._waiting
                    most = max(most, sum(len(message.data) for message in waiting))
                    assert sum(message.frames for message in waiting) <= MOST_CHUNKS
                assert most < (MOST_CHUNKS + 1) * 8_000_000
                await page.hold()
                await page.told("state", lambda state: state["state"] == "standing")

    def pad(message: bytes) -> bytes:
        """A chunk of several megabytes, more than the systems' buffers take."""
        length = int.from_bytes(message[:4], "little")
        header = message[4 : 4 + length].replace(b'"pictures":[', b'"pictures":[7000000,')
        return len(header).to_bytes(4, "little") + header + bytes(7_000_000) + message[4 + length :]

    run(doing())


def test_a_socket_that_is_half_open_is_let_go(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    """A computer that was switched off: nothing comes from it, not even that it is gone."""
    monkeypatch.setattr(live_socket, "HEARTBEAT", 2.0)  # a busy client still answers in the half of it

    async def doing() -> None:
        async with (
            playing(pipeline, place_kept=0.2) as played,
            raw_socket(played),
            played.browser() as browser,
            browser.page() as page,
        ):
            assert page.state["role"] == "watches"
            await page.told("state", lambda state: state["role"] == "walks")
            await goes_on(page)

    run(doing())


def test_a_reload_while_the_lost_socket_is_not_known_to_be_lost(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live_socket, "HEARTBEAT", 2.0)

    async def doing() -> None:
        async with (
            playing(pipeline, place_kept=60) as played,
            played.browser() as browser,
            browser.page(autoping=False) as page,
            browser.page() as again,
        ):
            assert page.state["role"] == "walks"
            assert again.state["role"] == "watches"
            await again.told("state", lambda state: state["role"] == "walks")
            await goes_on(again)

    run(doing())


def test_no_more_sockets_than_that(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "MOST_SOCKETS", 2)

    async def doing() -> None:
        async with playing(pipeline) as played, played.browser() as browser:
            async with browser.page(), browser.page():
                with pytest.raises(WSServerHandshakeError) as refused:
                    await browser.session.ws_connect("/live")
                assert refused.value.status == 503
            await asyncio.sleep(0.2)
            async with browser.page():
                pass

    run(doing())


# Uploads.


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 30,000 x 30,000 pixels."""

    def piece(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + piece(b"IHDR", header) + piece(b"IDAT", b"") + piece(b"IEND", b"")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"picture": b"no picture"}, "no picture"),
        ({"picture": b""}, "no picture"),
        ({"picture": bomb()}, "million pixels"),
        ({"picture": png()[:60]}, "damaged"),
        ({"picture": png(20_000, 1)}, "too long and thin"),
        ({"picture": b"<svg xmlns='http://www.w3.org/2000/svg'/>"}, "no picture"),
        ({"scene": "8"}, "scenes"),
        ({"scene": "-1"}, "scene"),
        ({"scene": "../../x"}, "scene"),
        ({"seed": "1.5"}, "seed"),
        ({"seed": str(2**64)}, "seed"),
        ({"seed": "9" * 5000}, "seed"),
        ({"seed": "٣"}, "seed"),
        ({"words": "x" * 5000}, "words"),
        ({"words": "x" * 50_000}, "too long"),
        ({"other": "1"}, "fields"),
    ],
)
def test_a_wrong_form_begins_nothing(pipeline: Pipeline, fields: dict, words: str):
    async def doing() -> None:
        async with playing(pipeline) as played, played.browser() as browser, browser.page() as page:
            world, walk = played.walking.world, played.walking._here.walk
            status, answer = await browser.post("/begin", form(**fields))
            assert status in (400, 413)
            assert words in answer["error"]
            assert "/tmp" not in answer["error"]
            assert played.walking.world is world
            assert played.walking._here.walk is walk
            await goes_on(page)

    run(doing())


def test_forms_that_are_none(pipeline: Pipeline):
    async def doing() -> None:
        async with playing(pipeline) as played, played.browser() as browser:
            for data, kind in (
                (b"scene=1", "application/x-www-form-urlencoded"),
                (b"{}", "application/json"),
                (b"--a\r\n", "multipart/form-data; boundary=a"),
                (b"nothing", "multipart/form-data; boundary=a"),
                (b"nothing", "multipart/form-data"),
            ):
                status, answer = await browser.post("/begin", data, headers={"Content-Type": kind})
                assert status == 400, kind
                assert answer["error"]

    run(doing())


def test_uploads_larger_than_the_limit_are_not_read(pipeline: Pipeline):
    async def doing() -> None:
        async with playing(pipeline) as played, played.browser() as browser, browser.page() as page:
            before = resident()
            host = f"Host: 127.0.0.1:{played.port}\r\nOrigin: {played.url}\r\n"
            cookies = {cookie.key: cookie.value for cookie in browser.session.cookie_jar}
            host += "Cookie: " + "; ".join(f"{name}={value}" for name, value in cookies.items()) + "\r\n"
            for path, kind in (("/begin", "multipart/form-data; boundary=a"), ("/world", "application/octet-stream")):
                head = f"POST {path} HTTP/1.1\r\n{host}Content-Type: {kind}\r\nConnection: close\r\n"
                answer = await request(played, f"{head}Content-Length: {1 << 40}\r\n\r\n")
                assert answer.split(b" ", 2)[1] == b"413", answer[:300]
                assert b"larger than" in answer

            async def endless() -> AsyncIterator[bytes]:
                yield b'--a\r\nContent-Disposition: form-data; name="picture"; filename="a.png"\r\n\r\n'
                for _ in range(70):
                    yield bytes(1_000_000)

            status, answer = await browser.post(
                "/begin", endless(), headers={"Content-Type": "multipart/form-data; boundary=a"}
            )
            assert status == 413
            assert "larger than 32 MB" in answer["error"]
            assert resident() < before + 40
            await goes_on(page)

    run(doing())


def test_a_wrong_world_leaves_the_walk_as_it_is(pipeline: Pipeline, tmp_path: Path):
    other = hyworld.load(preset="tiny", device="cpu")
    other.start(size=(64, 96)).save(tmp_path / "other.world")
    huge = pipeline.start(text="a")
    huge = type(huge)(huge.text, 0, (24, 4096, 4096), None, (), "", huge.network, huge.vae)
    huge.save(tmp_path / "huge.world")

    async def doing() -> None:
        async with playing(pipeline) as played, played.browser() as browser, browser.page() as page:
            walk = played.walking._here.walk
            for data, words in (
                (b"", "damaged"),
                (b"x" * 100, "damaged"),
                (struct.pack("<Q", 2**60) + bytes(100), "damaged"),
                ((tmp_path / "other.world").read_bytes(), "another network"),
                ((tmp_path / "huge.world").read_bytes(), "up to 1088x1920"),
                ((tmp_path / "huge.world").read_bytes()[:-20], "damaged"),
            ):
                status, answer = await browser.post("/world", data, headers=WORLD)
                assert status == 400
                assert words in answer["error"], answer
                assert played.walking._here.walk is walk
            await goes_on(page)

    run(doing())
