"""`--gpus`: the command again in several processes, started and watched by torch's elastic launcher."""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import typer

from ..errors import InputError
from ..parallel import ranks
from ..parallel.job import STARTED
from ..pipeline import pick_device
from .console import EXIT_OTHER, fail

arguments: ContextVar[Sequence[str]] = ContextVar("arguments", default=())
"""Of the command line."""


def launch_if_asked(gpus: int, device: str) -> None:
    """With several GPUs, run this command in as many processes and exit with its code; in one of these, return.

    Raises `InputError` if there are not so many.
    """
    if gpus == 1 or ranks() > 1:
        return
    if device != "cpu":
        _check_gpus(gpus, device)
    raise typer.Exit(_launched(gpus, on_gpu=device != "cpu"))


def _check_gpus(gpus: int, device: str) -> None:
    there = torch.cuda.device_count() if pick_device(device).type == "cuda" else 0
    if device not in ("auto", "cuda"):
        raise InputError(f"A walk on {gpus} GPUs takes those of the machine in turn, not {device}: leave --device out.")
    if there < gpus:
        found = {0: "no GPU", 1: "one GPU"}.get(there, f"{there} GPUs")
        fewer = "" if there < 2 else f"--gpus {there}, or "
        raise InputError(f"--gpus {gpus} needs {gpus} GPUs, but this machine has {found}: take {fewer}one by itself.")


def _launched(processes: int, *, on_gpu: bool) -> int:
    """The exit code."""
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in ("torch.distributed", "torch.distributed.elastic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the leading process says what is to be said
    if not on_gpu:
        # Else each would take all cores.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    with TemporaryDirectory(prefix="hyworld-") as folder:
        started = Path(folder, "started")
        os.environ[STARTED] = str(started)
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            monitor_interval=0.1,
        )
        try:
            elastic_launch(config, sys.executable)("-m", "hyworld", *arguments.get())
        except (ChildFailedError, SignalException) as error:
            left = started.read_text() if started.exists() else ""
            if left:  # the leader came to its end, and has said what there is to say
                return int(left)
            return EXIT_OTHER if isinstance(error, SignalException) else _code(error.failures, processes)
    return 0


def _code(failures: Mapping[int, Any], processes: int) -> int:
    """The exit code where the leader did not come to its end, and a sentence where no process could say one."""
    codes = {rank: int(failure.exitcode) for rank, failure in failures.items()}
    leader = codes.get(0, 0)
    if leader > 0:
        return leader
    rank, code = (0, leader) if leader else next(iter(codes.items()))
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
    kept = "what was made is in the files that end in .part.mp4 and .part.world"
    return fail(f"Process {rank + 1} of the {processes} that share this walk was ended {how}; {kept}.", EXIT_OTHER)
