"""The processes of one job, as torch's launcher started them: how many they are, and which of them has ended.

The first process, which leads, keeps a connection to every other. When one ends, the system closes its connection,
whatever it was doing: a collective on a GPU would wait for it for ever.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from ..errors import InputError
from .peers import FOREVER, GRACE, Peers

STARTED = "HYWORLD_STARTED"
"""Environment variable with the name of a file: made once the processes watch each other, and in the end it has the
leader's exit code; see `cli.launch`."""

_END = b"."


def ranks() -> int:
    """How many processes share this walk."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Number of this one; 0 leads."""
    return int(os.environ.get("RANK", "0"))


def own_device(device: str | torch.device) -> str:
    """Of this process; raises `InputError` for a certain GPU, which several processes would share."""
    given = str(device)
    if given == "cpu" or (given == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if given not in ("auto", "cuda", "cuda:0"):
        raise InputError(f"A walk on several GPUs takes those of the machine in turn, not {given}: leave --device out.")
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


class Job(Peers):
    """This process's place in the job, once it has joined."""

    def __init__(self) -> None:
        found, number, size = next(dist.rendezvous("env://", timeout=FOREVER))
        super().__init__(dist.PrefixStore("hyworld", found), number)
        backend = "gloo"
        if torch.cuda.is_available():
            backend = "cpu:gloo,cuda:nccl"
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        self._peers: dict[socket.socket, int] = {}
        if number == 0:
            self._meet(size)
        else:
            self._call()
        dist.init_process_group(backend, store=found, rank=number, world_size=size, timeout=FOREVER)

    def _meet(self, size: int) -> None:
        local = os.environ.get("LOCAL_WORLD_SIZE") == str(size)
        with socket.create_server(("127.0.0.1" if local else "", 0)) as server:
            host = "127.0.0.1" if local else os.environ["MASTER_ADDR"]
            self._store.set("leader", f"{host}:{server.getsockname()[1]}")
            for _ in range(size - 1):
                peer, _ = server.accept()
                self._peers[peer] = int.from_bytes(peer.recv(4), "big")
        _tell_launcher("")
        threading.Thread(target=self._watch, daemon=True, name="peers").start()

    def _call(self) -> None:
        host, _, port = self._store.get("leader").decode().rpartition(":")
        leader = socket.create_connection((host, int(port)))
        leader.sendall(rank().to_bytes(4, "big"))
        leader.settimeout(None)
        threading.Thread(target=self._follow, args=(leader,), daemon=True, name="leader").start()

    def _follow(self, leader: socket.socket) -> None:
        """End with the leader."""
        said = b""
        with suppress(OSError):
            said = leader.recv(1)
        os._exit(0 if said == _END else 1)

    def _watch(self) -> None:
        """In the leader: until a process ends, or the launcher."""
        launcher = os.getppid()
        with selectors.DefaultSelector() as selector:
            for peer in self._peers:
                selector.register(peer, selectors.EVENT_READ)
            while not (ended := selector.select(timeout=1.0)) and os.getppid() == launcher:
                pass
        if ended:
            number = self._peers[ended[0][0].fileobj]  # type: ignore[index]
            self.lose(number, len(self._peers) + 1)
        else:
            self.lost = "The program that started this walk has ended, so the walk ends here."
        time.sleep(GRACE)
        if not self.noticed:
            text = f"error: {self.lost} What was made is in the files that end in .part.mp4 and .part.world.\n"
            os.write(sys.stderr.fileno(), text.encode())
            _tell_launcher("1")
            os._exit(1)

    def leave(self, code: int) -> NoReturn:
        """End this process, which leads, and with it the others."""
        sys.stdout.flush()
        sys.stderr.flush()
        for peer in self._peers:
            with suppress(OSError):
                if code == 0:
                    peer.sendall(_END)
        _tell_launcher(str(code))
        # Nothing is torn down: communicators would wait for processes that may be gone.
        os._exit(code)


def _tell_launcher(text: str) -> None:
    if (file := os.environ.get(STARTED)) is not None:
        with suppress(OSError):  # the launcher may be gone
            Path(file).write_text(text)


class _Here:
    """The job of this process, once joined."""

    job: Job | None = None


def joined() -> Job:
    """The job, joined if that was not done before."""
    if _Here.job is None:
        _Here.job = Job()
    return _Here.job


def lost(*, wait: bool = False) -> str | None:
    """What a user is told if a process of this walk has ended; with `wait`, if an interrupt may mean that."""
    job = _Here.job
    if job is None:
        return None
    return job.wait_for_loss() if wait else job.lost


def interrupt(*_: Any) -> NoReturn:
    """Handler of SIGTERM: ends the walk as Ctrl-C does. The launcher sends it, too, when a process has ended."""
    if _Here.job is not None:
        _Here.job.noticed = True
    raise KeyboardInterrupt


def leave(code: int) -> None:
    """End this process with `code` if it leads others; else nothing."""
    if _Here.job is not None:
        _Here.job.leave(code)


def follow_if_told(*, shares: bool) -> None:
    """Where another process leads: share its work if this command has any to share, and end with it."""
    if ranks() == 1 or rank() == 0:
        return
    if not shares:
        raise SystemExit(0)
    from .follow import follow

    follow(joined())
