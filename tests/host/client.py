"""What a ComfyUI front end says to the server: queue a prompt, follow it over the websocket, fetch what came out."""

from __future__ import annotations

import json
import struct
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

websocket = pytest.importorskip("websocket", reason='no websocket-client: pip install -e ".[dev]"')

Prompt = dict[str, dict[str, Any]]
"""A workflow in API form: node id → class_type and inputs; a link is [node id, output index]."""

_ENDINGS = {"execution_success": "success", "execution_error": "error", "execution_interrupted": "interrupted"}
_TEXT, _PREVIEW_WITH_METADATA = 3, 4


class RejectedError(Exception):
    """The server refused a prompt before it ran anything."""

    def __init__(self, code: int, body: dict[str, Any]) -> None:
        super().__init__(f"HTTP {code}: {json.dumps(body)}")
        self.code = code
        self.body = body

    def reasons(self, node: str) -> list[str]:
        """What was wrong with a node, one entry per input, as the front end shows it."""
        errors = self.body["node_errors"].get(node, {"errors": []})["errors"]
        return [f"{error['message']}: {error['details']}" for error in errors]


@dataclass(frozen=True)
class Event:
    """A JSON message of the websocket, `seconds` after the prompt was queued."""

    seconds: float
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Preview:
    """A binary message of the websocket: the encoded picture and the node it belongs to."""

    seconds: float
    node: str
    picture: bytes


@dataclass
class Run:
    """One prompt from queue to end: `status` is success, error or interrupted."""

    prompt_id: str
    status: str = ""
    seconds: float = 0.0
    events: list[Event] = field(default_factory=list)
    previews: list[Preview] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    """Progress texts: the node and what it said, of any prompt that ran meanwhile."""
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """The data of all messages of a kind."""
        return [event.data for event in self.events if event.kind == kind]

    @property
    def cached(self) -> set[str]:
        """Nodes whose results were still there."""
        return {node for data in self.of_kind("execution_cached") for node in data["nodes"]}

    @property
    def error(self) -> str:
        """The message of the execution error."""
        message: str = self.of_kind("execution_error")[0]["exception_message"]
        return message


class Client:
    """One front end."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.id = uuid.uuid4().hex
        self._socket = websocket.create_connection(f"{url.replace('http', 'ws', 1)}/ws?clientId={self.id}")
        self._socket.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def get(self, path: str, **query: str) -> bytes:
        """The body of a page."""
        with urllib.request.urlopen(f"{self._url}{path}?{urllib.parse.urlencode(query)}", timeout=60) as answer:
            body: bytes = answer.read()
            return body

    def post(self, path: str, data: Any) -> Any:
        """Send JSON; returns the answer's.

        Raises:
            RejectedError: the server answered with an error code.
        """
        request = urllib.request.Request(
            f"{self._url}{path}", data=json.dumps(data).encode(), headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise RejectedError(error.code, json.load(error)) from None

    def object_info(self) -> dict[str, Any]:
        """The schemas of all nodes."""
        info: dict[str, Any] = json.loads(self.get("/object_info"))
        return info

    def interrupt(self) -> None:
        """Ask the running prompt to stop."""
        self.post("/interrupt", {})

    def view(self, file: dict[str, str]) -> bytes:
        """A file that a node put out."""
        return self.get("/view", filename=file["filename"], subfolder=file["subfolder"], type=file["type"])

    def queue(self, prompt: Prompt) -> Run:
        """Queue a prompt and return at once; `follow` goes with it.

        Raises:
            RejectedError: it did not pass validation.
        """
        answer = self.post("/prompt", {"prompt": prompt, "client_id": self.id})
        if answer["node_errors"]:
            raise RejectedError(200, answer)
        return Run(answer["prompt_id"])

    def run(self, prompt: Prompt, timeout: float = 60) -> Run:
        """Queue a prompt and follow it to its end."""
        return self.follow(self.queue(prompt), timeout=timeout)

    def follow(self, run: Run, *, until: Callable[[Event], bool] | None = None, timeout: float = 60) -> Run:
        """Read messages until the prompt has ended, or until its first message that `until` holds for."""
        began = time.monotonic()
        seconds, reached = run.seconds, False
        while not run.status and not reached:
            left = began + timeout - time.monotonic()
            self._socket.settimeout(max(left, 0.01))
            try:
                kind, data = self._receive()
            except websocket.WebSocketTimeoutException:
                self.interrupt()
                raise TimeoutError(f"The prompt took longer than {timeout} s: {run.events[-3:]}") from None
            seconds = run.seconds + time.monotonic() - began
            if kind == "text":
                length = struct.unpack(">I", data[:4])[0]
                run.texts.append((data[4 : 4 + length].decode(), data[4 + length :].decode()))
            elif isinstance(data, bytes):
                length = struct.unpack(">I", data[:4])[0]
                origin = json.loads(data[4 : 4 + length])
                if origin["prompt_id"] == run.prompt_id:
                    run.previews.append(Preview(seconds, origin["node_id"], data[4 + length :]))
            elif data.get("prompt_id") == run.prompt_id:
                event = Event(seconds, kind, data)
                run.events.append(event)
                run.status = _ENDINGS.get(kind, "")
                reached = until is not None and until(event)
        run.seconds = seconds
        if run.status:
            run.outputs = self._history(run.prompt_id)["outputs"]
        return run

    def previews(self, run: Run, seconds: float) -> list[bytes]:
        """Pictures of a prompt that arrive within the time."""
        pictures = []
        give_up = time.monotonic() + seconds
        while (left := give_up - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                kind, data = self._receive()
            except websocket.WebSocketTimeoutException:
                break
            if kind == "preview":
                length = struct.unpack(">I", data[:4])[0]
                if json.loads(data[4 : 4 + length])["prompt_id"] == run.prompt_id:
                    pictures.append(data[4 + length :])
        return pictures

    def hears(self, kind: str, seconds: float) -> bool:
        """Whether a message of that kind arrives within the time."""
        give_up = time.monotonic() + seconds
        while (left := give_up - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                if self._receive()[0] == kind:
                    return True
            except websocket.WebSocketTimeoutException:
                break
        return False

    def _receive(self) -> tuple[str, Any]:
        """The next message: its kind and data, which is bytes for the kinds "text" and "preview"."""
        while True:
            opcode, body = self._socket.recv_data()
            if opcode == websocket.ABNF.OPCODE_TEXT:
                message = json.loads(body)
                return message["type"], message["data"]
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                raise ConnectionError("The server closed the websocket.")
            kind = {_TEXT: "text", _PREVIEW_WITH_METADATA: "preview"}.get(struct.unpack(">I", body[:4])[0])
            if kind is not None:
                return kind, body[4:]

    def _history(self, prompt_id: str) -> dict[str, Any]:
        """What the server remembers of an ended prompt; it writes that down just after it said so."""
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up:
            history = json.loads(self.get(f"/history/{prompt_id}"))
            if prompt_id in history:
                entry: dict[str, Any] = history[prompt_id]
                return entry
            time.sleep(0.02)
        raise TimeoutError(f"{prompt_id} ended, but the history does not know it.")
