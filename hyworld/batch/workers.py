"""Walks by Ray: a worker per GPU, each a process that loads its networks once, on this machine or on a cluster."""

from __future__ import annotations

import importlib
import importlib.util
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError
from .lines import Line

MISSING = "hyworld batch needs the package ray: install it (pip install ray), or send the walks to ComfyUI (--comfyui)."

MOST_DEATHS = 3
"""Workers that a walk may take with it; then it counts as one that cannot be made."""

WAIT = 1.0
"""Seconds between two looks for news at most."""

Walk = Callable[[Line, Path], Iterator["Progress | Made | Failed"]]
"""Makes the walk of a line, with its results in a folder: progress, and at the end what came of it."""


class Progress(NamedTuple):
    """So many chunks of a walk are made, the one in work in part."""

    done: float
    chunks: int


class Made(NamedTuple):
    """The walk is there, and its record."""

    record: Mapping[str, Any]


class Failed(NamedTuple):
    """It cannot be made, for a reason that the next try would meet, too."""

    problem: str


class News(NamedTuple):
    """Of one line. None: its worker died, and it is begun anew."""

    line: Line
    what: Progress | Made | Failed | None


def ray() -> Any:
    """The package; raises `InputError` where it is missing."""
    if importlib.util.find_spec("ray") is None:
        raise InputError(MISSING)
    return importlib.import_module("ray")


class Pool:
    """Workers, each with a GPU where there are any; a context manager.

    address: of a Ray cluster, whose machines have this package and see the same folders; None: this machine alone.
    workers: how many; None: one for each GPU, without GPUs one.
    prepare: called in each worker once; what it returns makes its walks.

    Raises `InputError` for a cluster that does not answer or has too little for the workers.
    """

    def __init__(self, prepare: Callable[[], Walk], *, address: str | None, workers: int | None) -> None:
        self._prepare = prepare
        self._address = address
        self._asked = workers
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, Line]] = {}
        self._deaths: dict[int, int] = {}

    def __enter__(self) -> Pool:
        self._ray = ray()
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if self._address is None:
            options |= {"include_dashboard": False, "num_cpus": os.cpu_count()}
        try:
            self._ray.init(address=self._address, **options)
        except ConnectionError as error:
            raise InputError(f"No Ray cluster answers at {self._address} ({error}): check the address.") from None
        resources = self._ray.cluster_resources()
        gpus, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
        self.workers = self._asked or gpus or 1
        limit = gpus or cores
        if self.workers > limit:
            kind = "GPU" if gpus else "core"
            self._ray.shutdown()
            raise InputError(
                f"{self.workers} workers need as many {kind}s, but there {'is' if limit == 1 else 'are'} {limit}."
            )
        threads = max(1, cores // self.workers)
        self._options = {
            "num_gpus": 1 if gpus else 0,
            "num_cpus": 1 if gpus else threads,
            "runtime_env": {} if gpus else {"env_vars": {"OMP_NUM_THREADS": str(threads)}},
        }
        self._idle = [self._new_worker() for _ in range(self.workers)]
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def make(self, lines: Iterable[Line], folder: Path) -> Iterator[News]:
        """Make the walks of `lines`, taken one by one as workers are free; yields what is new."""
        coming = iter(lines)
        again: list[Line] = []
        while True:
            while self._idle and (line := again.pop() if again else next(coming, None)) is not None:
                worker = self._idle.pop()
                self._busy[worker.walk.remote(line, folder)] = (worker, line)
            if not self._busy:
                return
            ready, _ = self._ray.wait(list(self._busy), num_returns=1, timeout=WAIT, fetch_local=False)
            for news in ready:
                worker, line = self._busy[news]
                what = self._next(news)
                if what is None:
                    del self._busy[news]
                    self._idle.append(self._new_worker())
                    self._deaths[line.number] = self._deaths.get(line.number, 0) + 1
                    if self._deaths[line.number] < MOST_DEATHS:
                        again.append(line)
                        yield News(line, None)
                        continue
                    what = Failed(f"{MOST_DEATHS} workers died over it, perhaps of too little memory")
                elif not isinstance(what, Progress):
                    del self._busy[news]
                    self._idle.append(worker)
                yield News(line, what)

    def _next(self, news: Any) -> Progress | Made | Failed | None:
        """None: the worker died."""
        try:
            what: Progress | Made | Failed = self._ray.get(next(news))
        except (self._ray.exceptions.RayActorError, StopIteration):
            return None
        except self._ray.exceptions.RayTaskError as error:
            return Failed(" ".join(str(error.cause).split()) or type(error.cause).__name__)
        return what

    def _new_worker(self) -> Any:
        worker = self._ray.remote(_Worker).options(**self._options)
        return worker.remote(self._prepare)


class _Worker:
    """A process of Ray."""

    def __init__(self, prepare: Callable[[], Walk]) -> None:
        self._walk = prepare()

    def walk(self, line: Line, folder: Path) -> Iterator[Progress | Made | Failed]:
        yield from self._walk(line, folder)


def paced(progress: Iterable[Any], seconds: float = 0.2) -> Iterator[Any]:
    """`progress` without what comes sooner than so many seconds after what came before, but for the last."""
    last = 0.0
    for one in progress:
        now = time.monotonic()
        if not isinstance(one, Progress) or now - last >= seconds:
            last = now
            yield one
