"""Several processes on this machine's CPU, as a launcher would start them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment(rank: int, ranks: int, port: int) -> dict[str, str]:
    """Of one process."""
    return {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }


def run(ranks: int, *command: object, timeout: float = 300) -> list[int]:
    """Exit codes of `python command`, run in so many processes; what they say goes to the test's output."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    started = [
        subprocess.Popen([sys.executable, *map(str, command)], env=environment(rank, ranks, port))
        for rank in range(ranks)
    ]
    try:
        return [process.wait(timeout) for process in started]
    finally:
        for process in started:
            process.kill()
