"""Processes that a program which stays, such as ComfyUI, starts to share its walks, and ends when it likes.

Each reads from a pipe that only this program can write to: when it ends, however it ends, they do.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import torch
import torch.distributed as dist

from ..errors import InputError
from .peers import FOREVER, Peers, RankLostError

STORE = "HYWORLD_STORE"
"""Environment variable with the name of the file by which the processes find each other."""

START_SECONDS = 180.0
"""For a process to import torch."""

END_SECONDS = 2.0
"""For a process to end by itself."""

ENGINE = __package__.rpartition(".")[0] if __package__ else "hyworld"


class Hired(Peers):
    """The processes, one for each of `devices` ("cuda:1", or "cpu") but the first, which is that of this process.

    on_wait: called while they start; may raise to stop.

    Raises `InputError` if this process is in another job already, `RankLostError` if one does not start.
    """

    def __init__(self, devices: Sequence[str], on_wait: Callable[[], None] = lambda: None) -> None:
        if dist.is_initialized():
            raise InputError(
                "Another part of this program uses torch.distributed already: set gpus to 1, or take that out."
            )
        self._folder = TemporaryDirectory(prefix="hyworld-")
        file = Path(self._folder.name, "store")
        self._size = len(devices)
        self._on_gpu = devices[0] != "cpu"
        super().__init__(dist.FileStore(str(file), self._size), 0)
        self._closing = False
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            for number, device in enumerate(devices[1:], start=1):
                self._processes.append(_started(number, device, devices, file))
            self._wait(on_wait)
            for number, process in enumerate(self._processes, start=1):
                threading.Thread(target=self._watch, args=(number, process), daemon=True, name="peer").start()
            _join(file, 0, self._size, on_gpu=self._on_gpu)
        except BaseException:
            self.close()
            raise

    def _wait(self, on_wait: Callable[[], None]) -> None:
        """Until all are there."""
        until = time.monotonic() + START_SECONDS
        for number, process in enumerate(self._processes, start=1):
            while not self.has_arrived(number):
                if process.poll() is not None or time.monotonic() > until:
                    raise RankLostError(
                        f"Process {number + 1} of the {self._size} that share this walk did not start: see the log, "
                        "or set gpus to 1."
                    )
                on_wait()
                time.sleep(0.05)

    def _watch(self, number: int, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        if self._closing or self.lost is not None:
            return
        self.lose(number, self._size)
        if self._on_gpu:
            # Else who waits for this GPU waits for ever: a collective on it has begun.
            with suppress(Exception):
                dist.distributed_c10d._get_default_group().abort()

    def close(self) -> None:
        """End them."""
        if self._closing:
            return
        self._closing = True
        for process in self._processes:
            if process.stdin is not None:
                with suppress(OSError):
                    process.stdin.close()
        until = time.monotonic() + END_SECONDS
        for process in self._processes:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if dist.is_initialized():
            with suppress(Exception):
                if self._on_gpu and self.lost is None:
                    dist.distributed_c10d._get_default_group().abort()
            with suppress(Exception):
                dist.destroy_process_group()
        self._folder.cleanup()


def _started(number: int, device: str, devices: Sequence[str], store: Path) -> subprocess.Popen[bytes]:
    own = {"RANK": number, "WORLD_SIZE": len(devices), "LOCAL_RANK": device.partition(":")[2] or "0", STORE: store}
    if device == "cpu":
        own["OMP_NUM_THREADS"] = max(1, (os.cpu_count() or 1) // len(devices))
    engine = Path(__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, str(engine / "parallel" / "begin.py"), ENGINE, str(engine.parent)],
        env={**os.environ, **{name: str(value) for name, value in own.items()}},
        stdin=subprocess.PIPE,
    )


def _join(store: Path, number: int, size: int, *, on_gpu: bool) -> None:
    # A process that ends is noticed by who started it. NCCL's own guards would end the program in which one waits.
    os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
    os.environ.setdefault("TORCH_NCCL_ENABLE_MONITORING", "0")
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        store=dist.PrefixStore("group", dist.FileStore(str(store), size)),
        rank=number,
        world_size=size,
        timeout=FOREVER,
    )


def work() -> NoReturn:
    """Follow who started this process, until that ends."""
    threading.Thread(target=_end_with_leader, daemon=True, name="leader").start()
    from .follow import follow

    number, size, file = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), Path(os.environ[STORE])
    hand = Peers(dist.FileStore(str(file), size), number)
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    hand.arrive()
    _join(file, number, size, on_gpu=on_gpu)
    follow(hand)


def _end_with_leader() -> NoReturn:
    sys.stdin.buffer.read(1)
    os._exit(0)
