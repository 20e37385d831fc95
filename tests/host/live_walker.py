"""Whoever walks in a Live Walk, without a browser: its WebSocket, and what was said over it."""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest

from .client import Client, Event, Run

websocket = pytest.importorskip("websocket", reason='no websocket-client: pip install -e ".[dev]"')

Message = dict[str, Any]
"""A text message, or the header of a binary one with its pictures in place of their lengths."""

PATIENCE = 40.0


class Walker:
    """Joins the walk of a node that runs; see docs/live.md for what is said.

    Raises `websocket.WebSocketBadStatusException` if it may not.
    """

    def __init__(self, url: str, prompt_id: str, node: str, client_id: str, *, origin: str | None = None) -> None:
        query = urllib.parse.urlencode({"prompt_id": prompt_id, "node_id": node, "client_id": client_id})
        self._socket = websocket.create_connection(
            f"{url.replace('http', 'ws', 1)}/hyworld/live?{query}", origin=origin or url, timeout=PATIENCE
        )
        self.heard: list[Message] = []
        self.state: Message = {}

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def say(self, kind: str, **fields: Any) -> None:
        self._socket.send(json.dumps({"type": kind, **fields}))

    def hold(self, *keys: str, **sticks: tuple[float, float]) -> None:
        """Hold these keys, and no others, from now on."""
        self.say("input", at=time.monotonic() * 1000, keys=keys, **sticks)

    def until(self, reached: Callable[[Message], bool]) -> Message:
        """Listen until a message for which this holds; plays what comes."""
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            message = self._next()
            if reached(message):
                return message
        raise TimeoutError(f"The walk did not say so within {PATIENCE:.0f} s: {self.heard[-5:]}")

    def chunk(self, index: int) -> Message:
        """Listen until the chunk of this index comes."""
        return self.until(lambda message: message["type"] == "chunk" and message["chunk"] == index)

    def stands(self, chunks: int | None = None) -> Message:
        """Listen until the walk stands still, with so many chunks."""
        return self.until(
            lambda message: (
                (message["type"], message.get("state")) == ("state", "standing") and chunks in (None, message["chunks"])
            )
        )

    def walk(self, *keys: str, to: int) -> int:
        """Hold keys until the world has `to` chunks, then let go; returns how many it has when it stands still."""
        if not self.state:
            self.stands()
        self.hold(*keys)
        self.chunk(to - 1)
        self.hold()
        return self.stands()["chunks"]

    def end(self) -> str:
        """Listen to the end of the walk; returns what was said of it."""
        text: str = self.until(lambda message: message["type"] == "ended")["text"]
        return text

    def _next(self) -> Message:
        opcode, body = self._socket.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            raise ConnectionError("The server closed the socket.")
        message = json.loads(body) if opcode == websocket.ABNF.OPCODE_TEXT else _unpacked(body)
        self.heard.append(
            {**message, "pictures": len(message.get("pictures", ()))} if "pictures" in message else message
        )
        if message["type"] == "state":
            self.state = message
        if message["type"] == "chunk":
            self.say("playing", chunk=message["chunk"], left=0)
        return message


def _unpacked(body: bytes) -> Message:
    length = int.from_bytes(body[:4], "little")
    header: Message = json.loads(body[4 : 4 + length])
    pictures, at = [], 4 + length
    for size in header["pictures"]:
        pictures.append(body[at : at + size])
        at += size
    return {**header, "pictures": pictures}


def walker_of(client: Client, run: Run, url: str, **how: Any) -> Walker:
    """Join the first Live Walk of a prompt, once it has begun."""
    begun: list[Message] = []

    def begins(event: Event) -> bool:
        begun.extend([event.data] if event.kind == "hyworld_live" else [])
        return bool(begun)

    client.follow(run, until=begins)
    if run.status:
        raise AssertionError(f"The prompt ended before a walk began: {run.status}, {run.of_kind('execution_error')}")
    return Walker(url, run.prompt_id, begun[0]["node_id"], how.pop("client_id", client.id), **how)
