"""`hyworld play`, as a process and in this one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from websocket import WebSocket

import hyworld as package
from hyworld import World
from hyworld.cli import play
from hyworld.live import files

SMALL = ("--preset", "tiny-random")
HERE = ("--device", "cpu", "--no-browser", "--port", "0")


@contextmanager
def started(
    folder: Path, *options: object, model: Sequence[object] = SMALL
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command and the address it prints."""
    command = [sys.executable, "-m", "hyworld.cli.main", "play", *map(str, (*model, *HERE, *options))]
    environment = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), line + process.stderr.read()
        yield process, line.split()[0].rstrip("/")
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def walk(address: str, chunks: int, *keys: str) -> None:
    """Hold keys until so many chunks came."""
    socket = WebSocket()
    socket.connect(address.replace("http", "ws") + "/live", origin=address, timeout=60)
    socket.send(json.dumps({"type": "input", "at": 1, "keys": keys}))
    while chunks:
        data = socket.recv()
        chunks -= isinstance(data, bytes) and b'"type":"chunk"' in data[:60]
    socket.close()


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to send")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_and_says_where_the_world_is(tmp_path: Path, number: signal.Signals):
    with started(tmp_path, "--size", "64x96") as (process, address):
        walk(address, 2, "w")
        began = time.monotonic()
        process.send_signal(number)  # in the middle of a chunk
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert time.monotonic() - began < 20
    world = World.load(tmp_path / "live.world")
    assert world.chunks >= 2
    assert stdout == f"live.world: the world with {world.chunks} chunks; go on in it with --world live.world\n"
    assert "rror" not in stderr
    assert [file.name for file in tmp_path.iterdir()] == ["live.world"]

    with started(tmp_path, "--world", "live.world") as (process, address):
        walk(address, 1, "w")
        process.send_signal(number)
        stdout, _ = process.communicate(timeout=60)
    again = World.load(tmp_path / "live-2.world")
    assert again.at_chunk(world.chunks) == world
    assert again.chunks > world.chunks
    assert stdout.startswith("live-2.world:")


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to send")
def test_without_a_walk_nothing_is_left(tmp_path: Path):
    with started(tmp_path) as (process, _):
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--size", "60x90"), "multiple of 32"),
        (("--world", "no.world"), "no world to read"),
        (("--from-chunk", "2"), "give it with --world"),
        (("--image", "no.png"), "no picture at"),
        (("--vae", "x.safetensors"), "add --weights"),
        (("--preset", "tiny-random", "--host", "nowhere.invalid"), "is not known"),
        (("--port", "70000"), "play --help"),
        (("--crop", "sky"), "play --help"),
        (("--move-speed", "-1"), "speed"),
    ],
)
def test_wrong_options_are_one_line(hyworld, options: tuple[str, ...], words: str):
    done = hyworld("play", "--no-browser", *options)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert words in errors[0]


def test_a_page_that_is_missing(hyworld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "hyworld" / "live").mkdir(parents=True)
    monkeypatch.setattr(files, "__file__", str(tmp_path / "hyworld" / "live" / "files.py"))
    done = hyworld("play", "--no-browser")
    assert done.returncode == 2
    assert "install hyworld again" in done.stderr


@pytest.mark.parametrize(
    ("platform", "environment", "opens"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("darwin", {}, True),
        ("darwin", {"SSH_CONNECTION": "1 2 3 4"}, False),
        ("win32", {}, True),
    ],
)
def test_a_browser_opens_only_where_it_is_seen(
    monkeypatch: pytest.MonkeyPatch, platform: str, environment: dict[str, str], opens: bool
):
    monkeypatch.setattr(sys, "platform", platform)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert play._has_display() is opens


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no signals to send")
def test_a_live_walk_that_two_processes_share(tmp_path: Path):
    with started(tmp_path, "--size", "64x96", "--gpus", "2") as (process, address):
        walk(address, 2, "w")
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert "rror" not in stderr
    world = World.load(tmp_path / "live.world")
    assert stdout == f"live.world: the world with {world.chunks} chunks; go on in it with --world live.world\n"
