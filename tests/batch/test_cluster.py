"""`hyworld batch --address`: a real Ray cluster of two machines; one ends in the middle of a walk, a third joins.

`HYWORLD_CLUSTER=1 pytest tests/batch/test_cluster.py` takes about a minute on two cores. Both machines are this one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from .driver import ROOT, WALK, batch, frames, records

pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = pytest.mark.skipif("HYWORLD_CLUSTER" not in os.environ, reason="HYWORLD_CLUSTER=1 starts a Ray cluster")

OPEN = {"RAY_AUTH_MODE": "disabled"}
"""Whatever token this user has: the second machine would have to be told of it."""


@contextmanager
def machine(*options: str) -> Iterator[subprocess.Popen[bytes]]:
    """One with a core, in a process group of its own; ended with all it started."""
    ray = Path(sys.executable).with_name("ray")
    command = [str(ray), "start", "--block", "--num-cpus=1", "--num-gpus=0", "--disable-usage-stats", *options]
    environment = {**os.environ, **OPEN, "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield running
    finally:
        end(running)


def end(running: subprocess.Popen[bytes]) -> None:
    if running.poll() is None:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def test_a_machine_that_ends_leaves_its_walk_to_another(tmp_path: Path):
    walks = [{**WALK, "path": "w-31", "seed": seed} for seed in range(8)]
    (tmp_path / "walks.jsonl").write_text("\n".join(map(json.dumps, walks)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"127.0.0.1:{port}"
    with ExitStack() as stack:
        files = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True))
        stack.enter_context(machine("--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={files}"))
        until(lambda: listens(port), 60)
        other = stack.enter_context(machine(f"--address={address}"))
        until(lambda: machines(address) == 2, 60)
        driver = batch(tmp_path, "--address", address, **OPEN)
        stack.callback(driver.kill)
        work = tmp_path / "out" / ".work"
        until(lambda: work.is_dir() and len(list(work.iterdir())) == 2, 100)  # both walk
        end(other)
        stack.enter_context(machine(f"--address={address}"))
        until(lambda: len(list(work.iterdir())) == 3, 100)  # what the worker left that ended, and two that walk
        out, said = driver.communicate(timeout=200)
        assert driver.returncode == 0, said
        assert "8 of 8 walks made" in out
        assert said.count("is begun anew: its worker died") == 1
        made = records(tmp_path)
        assert len(made) == 8
        assert all(frames(file) == 125 for file in (tmp_path / "out").glob("[!.]*.mp4"))

        again = batch(tmp_path, "--address", address, **OPEN)
        out, said = again.communicate(timeout=100)
        assert "0 of 0 walks made, 8 there before" in out, said
        assert records(tmp_path) == made


def until(holds: object, seconds: float) -> None:
    assert callable(holds)
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.2)


def listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def machines(address: str) -> int:
    """That run."""
    program = f"import ray; ray.init({address!r}, log_to_driver=False); print(sum(n['Alive'] for n in ray.nodes()))"
    asked = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **OPEN}, capture_output=True, text=True, timeout=60
    )
    return int(asked.stdout.strip().splitlines()[-1]) if asked.returncode == 0 else 0
