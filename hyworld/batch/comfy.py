"""Walks by the queues of ComfyUI servers: each line as a prompt of an API workflow."""

from __future__ import annotations

import copy
import json
import queue
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from ..errors import InputError
from . import results
from .lines import Line
from .workers import MOST_DEATHS, Failed, Made, News

POLL = 1.0
"""Seconds between two questions whether a prompt has run."""

SILENT = 60.0
"""Seconds in which a server may not answer; then its walk goes to another."""

PLACES: dict[str, tuple[str, str]] = {
    "seed": ("HYWorldStreamingSampler", "seed"),
    "chunks": ("HYWorldStreamingSampler", "chunks"),
    "pose": ("HYWorldCameraTrajectory", "path"),
    "path": ("HYWorldCameraTrajectory", "path"),
    "prompt": ("CLIPTextEncode", "text"),
    "image": ("LoadImage", "image"),
    "picture": ("LoadImage", "image"),
}
"""Options by the node and its input that they are put into; `Node.input` names any other."""


class Servers:
    """ComfyUI servers, each of which makes one walk at a time; a context manager.

    workflow: in API form; it saves an mp4.

    Raises `InputError` for a file that is no such workflow.
    """

    def __init__(self, addresses: list[str], workflow: Path) -> None:
        self.addresses = [address.rstrip("/") for address in addresses]
        try:
            self._workflow: dict[str, Any] = json.loads(workflow.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"The workflow {workflow} cannot be read ({error}): give one in API form.") from None
        if not isinstance(self._workflow, dict) or "nodes" in self._workflow:
            raise InputError(f"{workflow} is not in API form: use Workflow > Export (API) in ComfyUI.")
        self._stops = threading.Event()

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self._stops.set()

    def check(self, options: dict[str, Any]) -> dict[str, Any]:
        """The workflow with `options` in it; raises `InputError` for one that it has no place for."""
        prompt = copy.deepcopy(self._workflow)
        for name, value in options.items():
            kind, _, field = name.partition(".") if "." in name else (PLACES.get(name, ("", ""))[0], "", "")
            field = field or PLACES.get(name, ("", ""))[1]
            nodes = [node for node in prompt.values() if node["class_type"] == kind and field in node["inputs"]]
            nodes = [node for node in nodes if not isinstance(node["inputs"][field], list)]  # not wired
            if not nodes:
                raise InputError(f"the workflow has no place for {name!r}: write Class.input, such as KSampler.seed.")
            nodes[0]["inputs"][field] = value
        return prompt

    def make(self, lines: Iterable[Line], folder: Path) -> Iterator[News]:
        """Make the walks of `lines`; yields what came of each."""
        waiting: queue.Queue[Line | None] = queue.Queue(maxsize=1)
        news: queue.Queue[News | str] = queue.Queue()
        for address in self.addresses:
            threading.Thread(target=self._serve, args=(address, waiting, news, folder), daemon=True).start()
        alive, open_walks, deaths = len(self.addresses), 0, dict[int, int]()
        coming, again = iter(lines), list[Line]()
        following = next(coming, None)
        while following is not None or again or open_walks:
            while alive and open_walks < alive and (line := again.pop() if again else following) is not None:
                if line is following:
                    following = next(coming, None)
                open_walks += 1
                waiting.put(line)
            if not alive:
                raise InputError("No ComfyUI server answers any more: start them, then this again for the rest.")
            one = news.get()
            if isinstance(one, str):
                alive -= 1
                continue
            open_walks -= 1
            if one.what is None:
                deaths[one.line.number] = deaths.get(one.line.number, 0) + 1
                if deaths[one.line.number] < MOST_DEATHS:
                    again.append(one.line)
                else:
                    one = News(one.line, Failed(f"{MOST_DEATHS} servers stopped answering over it"))
            yield one

    def _serve(
        self, address: str, waiting: queue.Queue[Line | None], news: queue.Queue[News | str], folder: Path
    ) -> None:
        """On a thread: one server's walks, until it stops answering."""
        while not self._stops.is_set():
            line = waiting.get()
            assert line is not None
            try:
                what: Made | Failed = self._walk(address, line, folder)
            except InputError as error:
                what = Failed(str(error))
            except (OSError, ValueError):
                news.put(address)
                news.put(News(line, None))
                return
            news.put(News(line, what))

    def _walk(self, address: str, line: Line, folder: Path) -> Made | Failed:
        began, job = time.monotonic(), str(uuid.uuid4())
        body = {"prompt": self.check(line.options), "prompt_id": job, "client_id": job}
        try:
            job = json.loads(_call(address, "/prompt", body))["prompt_id"]
        except HTTPError as refusal:
            told = json.loads(refusal.read())
            faults = [fault for node in told.get("node_errors", {}).values() for fault in node["errors"]]
            return Failed("; ".join(f"{fault['message']}: {fault['details']}" for fault in faults) or str(told))
        while not (history := json.loads(_call(address, f"/history/{job}"))):
            if self._stops.wait(POLL):
                _cancel(address, job)
                return Failed("it was cancelled")
        status = history[job].get("status", {})
        if status.get("status_str") == "error":
            told = [data for kind, data in status.get("messages", []) if kind == "execution_error"]
            return Failed(told[-1]["exception_message"].strip() if told else "it was interrupted on the server")
        files = [
            file
            for output in history[job]["outputs"].values()
            for files in output.values()
            if isinstance(files, list)
            for file in files
            if isinstance(file, dict) and str(file.get("filename", "")).endswith(".mp4")
        ]
        if not files:
            return Failed("the workflow saved no mp4: add a Save Video node")
        with results.work_folder(folder) as work:
            video = work / "walk.mp4"
            video.write_bytes(_call(address, f"/view?{urlencode(files[-1])}"))
            made = {"server": address, "seconds": round(time.monotonic() - began, 2)}
            return Made(results.finish(folder, line, {"mp4": video}, made))


def _call(address: str, path: str, body: Any = None) -> bytes:
    """GET or POST; asked again for a while where nobody answers."""
    data = None if body is None else json.dumps(body).encode()
    until = time.monotonic() + SILENT
    while True:
        try:
            with urlopen(Request(address + path, data, {"Content-Type": "application/json"}), timeout=30) as answer:
                content: bytes = answer.read()
                return content
        except HTTPError:
            raise
        except (URLError, OSError):
            if time.monotonic() > until or data is not None:
                raise
            time.sleep(POLL)


def _cancel(address: str, job: str) -> None:
    with suppress(OSError):
        _call(address, "/queue", {"delete": [job]})
        _call(address, "/interrupt", {"prompt_id": job})
