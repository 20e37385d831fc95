"""Walks by the queues of ComfyUI servers: each line as a prompt of an API workflow."""

from __future__ import annotations

import queue
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError
from . import results
from .lines import Line
from .news import MOST_DEATHS, Again, Failed, Made, News, Progress
from .server import POLL, SILENT, RefusedError, Server, SilentError
from .workflow import Workflow

ENDS = 10.0
"""Seconds for the servers' threads to cancel what they wait for."""

NOBODY = "No ComfyUI server answers at {}: start it, then this again for the rest."

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


class Servers:
    """ComfyUI servers, each of which makes one walk at a time; a context manager.

    One that does not answer for a minute leaves its walk to another; it gets walks again when it answers. What an
    earlier batch of the same folder left in a queue is cancelled.

    Raises `InputError` if there is something to make and no server answers, at first or later.
    """

    def __init__(self, addresses: list[str], workflow: Workflow) -> None:
        self._stops = threading.Event()
        self._workflow = workflow
        self._servers = [Server(address, self._stops) for address in dict.fromkeys(addresses)]
        self._todo: queue.Queue[Line | None] = queue.Queue()
        self._heard: queue.Queue[News | Exception | None] = queue.Queue()
        self._threads: list[threading.Thread] = []
        self._alive: set[str] = set()

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self._stops.set()
        until = time.monotonic() + ENDS
        for _thread in self._threads:
            self._todo.put(None)
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def make(self, lines: Iterable[Line], kept: results.Results) -> Iterator[News]:
        """Make the walks of `lines`; yields what came of each, and `Progress` of one chunk for the whole of it."""
        coming, again = iter(lines), list[Line]()
        following = next(coming, None)
        if following is None:
            return
        self._begin(kept)
        in_work, deaths = 0, Counter[int]()
        while True:
            while in_work < len(self._alive) and (line := again.pop() if again else following) is not None:
                if line is following:
                    following = next(coming, None)
                in_work += 1
                self._todo.put(line)
                yield News(line, Progress(0.0, 1))
            if not in_work and following is None and not again:
                return
            self._require_one()
            try:
                one = self._heard.get(timeout=POLL)  # Windows hears no Ctrl-C without an end to the waiting
            except queue.Empty:
                continue
            if isinstance(one, Exception):
                raise one
            if one is None:  # a server is there again
                continue
            in_work -= 1
            line, what = one
            if isinstance(what, Again):
                deaths[line.number] += 1
                if deaths[line.number] < MOST_DEATHS:
                    again.append(line)
                else:
                    what = Failed(f"it was begun {MOST_DEATHS} times, and each time {what.reason}")
            elif isinstance(what, Made):
                yield News(line, Progress(1.0, 1))
            yield News(line, what)

    def _begin(self, kept: results.Results) -> None:
        """Find the servers that answer, and a thread for each."""
        self._alive = {server.address for server in self._servers if server.answers()}
        self._require_one()
        for server in self._servers:
            self._threads.append(threading.Thread(target=self._serve, args=(server, kept), daemon=True))
            self._threads[-1].start()

    def _require_one(self) -> None:
        if not self._alive:
            raise InputError(NOBODY.format(", ".join(server.address for server in self._servers)))

    def _serve(self, server: Server, kept: results.Results) -> None:
        """On a thread: one server's walks."""
        try:
            while self._is_there(server) and (line := self._todo.get()) is not None:
                try:
                    what: Made | Failed | Again = self._walk(server, line, kept)
                except (InputError, RefusedError) as error:
                    what = Failed(str(error))
                except SilentError:
                    what = Again(f"{server.address} did not answer for {SILENT:.0f} s or was started anew")
                    if not server.answers():
                        self._alive.discard(server.address)
                self._heard.put(News(line, what))
        except OSError as error:
            reason = (
                f"No results can be written into {kept.folder} ({error.strerror}): make room, then start this again."
            )
            self._heard.put(InputError(reason))
        except Exception as error:
            self._heard.put(error)

    def _is_there(self, server: Server) -> bool:
        """Wait until the server answers; False: the end came first."""
        while server.address not in self._alive:
            if self._stops.wait(POLL):
                return False
            if server.answers():
                self._alive.add(server.address)
                self._heard.put(None)
        return True

    def _walk(self, server: Server, line: Line, kept: results.Results) -> Made | Failed:
        began, job = time.monotonic(), str(uuid.uuid4())
        prompt = self._workflow.filled(line.options)
        owner = f"{kept.token} {server.address}"  # a server of two names has two walks
        server.clear(owner)
        for inputs, picture in self._workflow.pictures(prompt):
            try:
                content = picture.read_bytes()
            except OSError as error:
                raise InputError(f"the picture {picture} cannot be read ({error.strerror})") from None
            inputs["image"] = server.upload(picture.name, content)
        server.queue(prompt, job, owner)
        try:
            entry = server.wait(job)
        finally:
            if self._stops.is_set():
                server.cancel(job)
        status = entry.get("status") or {}
        if status.get("status_str") == "error":
            told = [data for kind, data in status.get("messages", []) if kind == "execution_error"]
            return Failed(told[-1]["exception_message"].strip() if told else "it was interrupted on the server")
        saved = _saved(entry.get("outputs", {}))
        if not saved:
            return Failed("the workflow saved no file: add a Save Video node")
        with results.work_folder(kept.folder) as work:
            files = {}
            for number, (ending, file) in enumerate(saved.items()):
                files[ending] = work / str(number)
                files[ending].write_bytes(server.content(file))
            made = {"server": server.address, "seconds": round(time.monotonic() - began, 2)}
            return Made(results.finish(kept.folder, line, files, made))


def _saved(outputs: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Files that nodes saved, by the ending of their name here: .mp4, or of several +0001.png, +0002.png."""
    files = [
        file
        for output in outputs.values()
        for found in output.values()
        if isinstance(found, list)
        for file in found
        if isinstance(file, dict) and file.get("type") == "output"
    ]
    kinds = [Path(str(file.get("filename", ""))).suffix.lower() for file in files]
    several = {kind for kind, count in Counter(kinds).items() if count > 1} | {".json"}  # the record's own
    numbers, saved = Counter[str](), {}
    for file, kind in zip(files, kinds, strict=True):
        if _SUFFIX.fullmatch(kind):
            numbers[kind] += 1
            saved[f"+{numbers[kind]:04d}{kind}" if kind in several else kind] = file
    return saved
