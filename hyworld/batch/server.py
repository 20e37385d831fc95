"""What is said to a ComfyUI server, with patience where it does not answer."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPException
from typing import Any, BinaryIO
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from .workflow import Prompt

POLL = 0.5
"""Seconds between two questions."""

SILENT = 60.0
"""Seconds in which a server may not answer."""

PATIENCE = 30.0
"""Seconds for one answer: a server that loads a model may be slow to."""

UPLOADS = b"hyworld_batch"
"""The folder of pictures in the server's input folder."""

UNAVAILABLE = frozenset({502, 503, 504})
"""What a proxy answers for a server that does not."""

JSON = "application/json"


class SilentError(Exception):
    """The server did not answer for `SILENT` seconds, or does not know a job any more."""


class RefusedError(Exception):
    """The server refused something, in words."""


class Server:
    """The server at `address`; `stops` ends all waiting, as if it were silent."""

    def __init__(self, address: str, stops: threading.Event) -> None:
        self.address = (address if "://" in address else f"http://{address}").rstrip("/")
        self._stops = stops

    def answers(self) -> bool:
        """Whether it does, now."""
        try:
            self._once("/system_stats", None, _json)
        except (OSError, HTTPException, ValueError):
            return False
        return True

    def queue(self, prompt: Prompt, job: str, owner: str) -> None:
        """Raises `RefusedError` with what ComfyUI says against the prompt."""
        body = {"prompt": prompt, "prompt_id": job, "client_id": owner}
        until = time.monotonic() + SILENT
        while True:
            try:
                # A workflow of several outputs is queued without those that have a fault.
                if faults := _faults_of(self._once("/prompt", _sent(body), _json)):
                    self.cancel(job)
                    raise RefusedError(faults)
                return
            except HTTPError as refusal:
                if refusal.code not in UNAVAILABLE:
                    raise RefusedError(_faults(refusal.read())) from None
            except (OSError, HTTPException, ValueError):
                pass
            # The answer may be lost and the prompt there.
            with suppress(SilentError):
                self.outcome(job)
                return
            if self._stops.wait(POLL) or time.monotonic() > until:
                raise SilentError

    def outcome(self, job: str) -> dict[str, Any] | None:
        """The job's history; None while it waits or runs. Raises `SilentError` if the server lost it in a restart."""
        for _ in range(2):  # it may end between the two questions
            if found := self._patiently(f"/history/{job}").get(job):
                entry: dict[str, Any] = found
                return entry
            if any(item[1] == job for item in self._queued()):
                return None
        raise SilentError

    def wait(self, job: str) -> dict[str, Any]:
        """Its history, once it has ended; raises as `outcome`."""
        while (entry := self.outcome(job)) is None:
            if self._stops.wait(POLL):
                raise SilentError
        return entry

    def cancel(self, job: str) -> None:
        """Take a job out of the queue, or interrupt it; leave others alone."""
        try:
            self._once(f"/api/jobs/{job}/cancel", _sent({}), _bytes)
        except HTTPError:  # an older ComfyUI
            with suppress(OSError, HTTPException):
                self._once("/queue", _sent({"delete": [job]}), _bytes)
                self._once("/interrupt", _sent({"prompt_id": job}), _bytes)
        except (OSError, HTTPException, ValueError):
            pass

    def clear(self, owner: str) -> None:
        """Cancel what `owner` left in the queue."""
        for item in self._queued():
            if item[3].get("client_id") == owner:
                self.cancel(item[1])

    def upload(self, name: str, picture: bytes) -> str:
        """Into the input folder; returns its name there. The same picture is kept once."""
        boundary = uuid.uuid4().hex
        parts = [(f'name="image"; filename="{_plain(name)}"', picture)]
        parts += [(f'name="{name}"', value) for name, value in (("type", b"input"), ("subfolder", UPLOADS))]
        form = b"".join(
            f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + value + b"\r\n"
            for head, value in parts
        )
        form += f"--{boundary}--\r\n".encode()
        said = self._patiently("/upload/image", form, f"multipart/form-data; boundary={boundary}")
        return f"{said['subfolder']}/{said['name']}"

    def content(self, file: dict[str, str]) -> bytes:
        """Of a file that a node saved."""
        query = urlencode({name: file.get(name, "") for name in ("filename", "subfolder", "type")})
        found: bytes = self._patiently(f"/view?{query}", read=_bytes)
        return found

    def _queued(self) -> Iterator[list[Any]]:
        """Of jobs that run or wait: number, id, prompt, what else was sent."""
        queues = self._patiently("/queue")
        yield from queues["queue_running"]
        yield from queues["queue_pending"]

    def _patiently(
        self, path: str, data: bytes | None = None, kind: str = JSON, read: Callable[[BinaryIO], Any] | None = None
    ) -> Any:
        """Asked again while nobody answers; raises `SilentError` at last, and `RefusedError` for a refusal."""
        until = time.monotonic() + SILENT
        while True:
            try:
                return self._once(path, data, read or _json, kind)
            except HTTPError as refusal:
                if refusal.code not in UNAVAILABLE:
                    place = path.partition("?")[0]
                    raise RefusedError(f"{self.address}{place} answers {refusal.code} {refusal.reason}") from None
            except (OSError, HTTPException, ValueError):
                pass
            if self._stops.wait(POLL) or time.monotonic() > until:
                raise SilentError

    def _once(self, path: str, data: bytes | None, read: Callable[[BinaryIO], Any], kind: str = JSON) -> Any:
        request = Request(self.address + path, data, {"Content-Type": kind})
        with urlopen(request, timeout=PATIENCE) as answer:
            return read(answer)


def _bytes(answer: BinaryIO) -> bytes:
    return answer.read()


def _json(answer: BinaryIO) -> Any:
    return json.loads(answer.read())


def _sent(body: Any) -> bytes:
    return json.dumps(body).encode()


def _faults(body: bytes) -> str:
    """Of a refused prompt."""
    try:
        told = json.loads(body)
        return _faults_of(told) or str(told["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")


def _faults_of(told: dict[str, Any]) -> str:
    nodes = told.get("node_errors") or {}
    faults = [(node.get("class_type", "?"), fault) for node in nodes.values() for fault in node["errors"]]
    return "; ".join(f"{kind}: {fault['message']}: {fault['details']}" for kind, fault in faults)


def _plain(name: str) -> str:
    """For a header."""
    return "".join(character if character.isalnum() or character in "._- " else "_" for character in name)
