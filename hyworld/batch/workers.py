"""Walks by Ray: a worker per GPU, each a process that loads its networks once, on this machine or on a cluster."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError
from .lines import Line
from .news import MOST_DEATHS, Again, Failed, Made, News, Progress
from .results import Results

MISSING = "hyworld batch needs the package ray: install it (pip install ray), or send the walks to ComfyUI (--comfyui)."

MOST_STARTS = 30
"""Workers in turn that may die before they run; of those that raise an error, a third of it."""

ADDRESS = "run this on one of its machines, with --address head:6379 or auto"

NEEDED = f"every machine of a cluster needs hyworld {__version__} and the same Python"

ANSWERS = 10.0
"""Seconds in which a cluster must take a connection; Ray itself tries for minutes."""

WAIT = 1.0
"""Seconds between two looks for news at most."""

Walk = Callable[[Line, Path], Iterator[Progress | Made | Failed]]
"""Makes the walk of a line, with its results in a folder: progress, and at the end what came of it."""


def ray() -> Any:
    """The package; raises `InputError` where it is missing."""
    if importlib.util.find_spec("ray") is None:
        raise InputError(MISSING)
    return importlib.import_module("ray")


class Pool:
    """Workers, each with a GPU where there are any; a context manager.

    address: of a Ray cluster, whose machines have this package and see the same folders; None: this machine alone.
    workers: how many; None: one for each GPU, without GPUs one for each machine.
    prepare: called in each worker once; what it returns makes its walks.

    Raises `InputError` where Ray is missing; and when there is something to make, for a cluster that does not answer or
    has too little for the workers, and for workers that do not start.
    """

    def __init__(self, prepare: Callable[[], Walk], *, address: str | None, workers: int | None) -> None:
        self._ray = ray()
        self._prepare = prepare
        self._address = address
        self._asked = workers
        self._starting: dict[Any, Any] = {}  # a machine for them may be missing for a while
        self._false_starts = 0
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, Line]] = {}

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def make(self, lines: Iterable[Line], kept: Results) -> Iterator[News]:
        """Make the walks of `lines`, taken one by one as workers are free; yields what is new."""
        coming, again = iter(lines), list[Line]()
        following = next(coming, None)
        if following is None:
            return
        self._begin()
        deaths = Counter[int]()
        while following is not None or again or self._busy:
            while self._idle and (line := again.pop() if again else following) is not None:
                if line is following:
                    following = next(coming, None)
                worker = self._idle.pop()
                self._busy[worker.walk.remote(line, kept.folder)] = (worker, line)
            waited = [*self._busy, *self._starting]
            ready, _ = self._ray.wait(waited, num_returns=1, timeout=WAIT, fetch_local=False)
            for one in ready:
                if one in self._starting:
                    self._started(one)
                    continue
                worker, line = self._busy[one]
                what = self._next(one)
                if not isinstance(what, Progress):
                    del self._busy[one]
                if isinstance(what, Again):
                    self._start()
                    deaths[line.number] += 1
                    if deaths[line.number] < MOST_DEATHS:
                        again.append(line)
                    else:
                        what = Failed(f"{MOST_DEATHS} workers died over it, perhaps of too little memory")
                elif not isinstance(what, Progress):
                    self._idle.append(worker)
                yield News(line, what)

    def _begin(self) -> None:
        """Find the machines and start the workers."""
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")  # else workers give way to all other programs
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if self._address is None:
            # "local": not a cluster that happens to run on this machine
            options |= {"address": "local", "include_dashboard": False, "num_cpus": _cores()}
        else:
            _require_answer(self._address)
            options |= {"address": self._address}
        terminated = signal.getsignal(signal.SIGTERM)
        try:
            self._ray.init(**options)
            signal.signal(signal.SIGTERM, terminated)  # Ray's own leaves without cleaning up
        except (ConnectionError, RuntimeError, self._ray.exceptions.RayError) as error:
            where = "on this machine" if self._address is None else f"at {self._address}"
            reason = " ".join(str(error).split())
            raise InputError(f"Ray cannot be used {where} ({reason}): check that with `ray status`.") from None
        machines = [machine["Resources"] for machine in self._ray.nodes() if machine["Alive"]]
        workers, self._options = _shares(machines, self._asked)
        for _ in range(workers):
            self._start()

    def _next(self, news: Any) -> Progress | Made | Failed | Again:
        """Of a busy worker."""
        try:
            what: Progress | Made | Failed = self._ray.get(next(news))
        except self._ray.exceptions.RayTaskError as error:
            return Failed(" ".join(str(error.cause).split()) or type(error.cause).__name__)
        except (self._ray.exceptions.RayError, StopIteration):
            return Again("its worker died")
        return what

    def _start(self) -> None:
        """A new worker, which gets a walk once it runs."""
        worker = self._ray.remote(_Worker).options(**self._options).remote(self._prepare)
        self._starting[worker.runs.remote()] = worker

    def _started(self, one: Any) -> None:
        worker = self._starting.pop(one)
        try:
            version = self._ray.get(one)
        except self._ray.exceptions.RayError as error:
            kinds = (self._ray.exceptions.RayTaskError, self._ray.exceptions.RuntimeEnvSetupError)
            raised = isinstance(error, kinds) or getattr(error, "actor_init_failed", False)
            self._false_starts += MOST_STARTS // 3 if raised else 1
            if self._false_starts >= MOST_STARTS:
                reason = str(error).strip().splitlines()[-1]
                raise InputError(f"Workers do not start ({reason}): {NEEDED}.") from None
            self._start()
            return
        if version != __version__:
            raise InputError(f"A worker has hyworld {version}: {NEEDED}.")
        self._false_starts = 0
        self._idle.append(worker)


class _Worker:
    """A process of Ray."""

    def __init__(self, prepare: Callable[[], Walk]) -> None:
        self._walk = prepare()

    def runs(self) -> str:
        """Once it does: of which version."""
        return __version__

    def walk(self, line: Line, folder: Path) -> Iterator[Progress | Made | Failed]:
        yield from self._walk(line, folder)


def _require_answer(address: str) -> None:
    """Raises `InputError` for an address where nothing listens, or that is no cluster's own."""
    if address.startswith("ray://"):
        raise InputError(f"{address} is for Ray Client, which a batch cannot use: {ADDRESS}.")
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"{address} is no address of a Ray cluster: {ADDRESS}.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"No Ray cluster answers at {address} ({error}): {ADDRESS}.") from None


def _cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shares(machines: list[Mapping[str, float]], asked: int | None) -> tuple[int, dict[str, Any]]:
    """How many workers on machines of such resources, and what each takes: a GPU, else as many cores as there are."""
    gpus = sum(int(machine.get("GPU", 0)) for machine in machines)
    cores = [int(machine.get("CPU", 0)) for machine in machines]
    limit = gpus or sum(cores)
    workers = asked or gpus or sum(1 for count in cores if count)
    if not 0 < workers <= limit:
        kind = "GPU" if gpus else "core"
        there = f"there {'is' if limit == 1 else 'are'} {limit}"
        raise InputError(f"{workers} workers need as many {kind}s, but {there}: give fewer --workers.")
    threads = max(1, sum(cores) // workers)
    while not gpus and sum(count // threads for count in cores) < workers:  # a worker is on one machine
        threads -= 1
    own = {"num_gpus": 1, "num_cpus": 1} if gpus else {"num_gpus": 0, "num_cpus": threads}
    return workers, {**own, "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(threads)}}}


def paced(progress: Iterable[Any], seconds: float = 0.2) -> Iterator[Any]:
    """`progress` without what comes sooner than so many seconds after what came before, but for the last."""
    last = 0.0
    for one in progress:
        now = time.monotonic()
        if not isinstance(one, Progress) or now - last >= seconds:
            last = now
            yield one
