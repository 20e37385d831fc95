"""example_workflows/api/queue_walk.py as a user runs it: what it says, and Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .client import Client, Prompt
from .server import REPOSITORY, ComfyServer
from .walks import SAMPLER, changed, node, slowed, walk

pytestmark = pytest.mark.host

SCRIPT = REPOSITORY / "example_workflows" / "api" / "queue_walk.py"
FOREVER = slowed(walk("w-79"), 0.5)


def filmed(prompt: Prompt) -> Prompt:
    """The same prompt, with a video saved of the walk."""
    video = node("CreateVideo", images=[SAMPLER, 0], fps=16.0)
    save = node("SaveVideo", video=["video", 0], filename_prefix="walk", format="auto", codec="auto")
    return {**prompt, "video": video, "save": save}


def start(server: ComfyServer, folder: Path, prompt: Prompt, *options: str) -> subprocess.Popen[str]:
    workflow = folder / "walk.json"
    workflow.write_text(json.dumps(prompt))
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), "--server", server.url, "--workflow", str(workflow), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A job in the background is started with Ctrl-C ignored, and so would be all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def in_queue(client: Client) -> dict[str, list[str]]:
    """Ids of the jobs that run and that wait."""
    queue = json.loads(client.get("/queue"))
    return {state: [entry[1] for entry in queue[f"queue_{state}"]] for state in ("running", "pending")}


def wait_for(client: Client, state: str, count: int) -> None:
    give_up = time.monotonic() + 30
    while len(in_queue(client)[state]) != count:
        assert time.monotonic() < give_up, in_queue(client)
        time.sleep(0.1)


def test_it_says_once_what_is_new_and_saves_the_video(server: ComfyServer, tmp_path: Path) -> None:
    prompt = changed(filmed(slowed(walk("w-15"), 0.15)), SAMPLER, preview=True)
    said, complaints = start(server, tmp_path, prompt, "--seed", "31").communicate(timeout=120)
    assert complaints == ""
    *chunks, saved = said.splitlines()
    assert [re.sub(r"[\d.]+ frames", "x frames", line) for line in chunks] == [
        f"HYWorldStreamingSampler: Chunk {i} of 4: x frames per second" for i in range(1, 5)
    ]
    film = (tmp_path / "walk.mp4").read_bytes()
    assert saved == f"{tmp_path / 'walk.mp4'}: {len(film):,} bytes"
    assert film[4:8] == b"ftyp"


def test_a_terminal_shows_one_line_that_changes(server: ComfyServer, tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    workflow = tmp_path / "walk.json"
    workflow.write_text(json.dumps(filmed(walk("w-7", seed=32))))
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), "--server", server.url, "--workflow", str(workflow)], stdout=terminal
    )
    os.close(terminal)
    shown = b""
    try:
        while block := os.read(screen, 4096):
            shown += block
    except OSError:  # Linux's end of a terminal
        pass
    assert process.wait(timeout=60) == 0
    *changes, last = shown.decode().split("\r\x1b[K")
    assert "\n" not in "".join(changes)
    assert last.endswith(" bytes\r\n")
    assert last.count("\n") == 1
    assert any(re.match(r"HYWorldStreamingSampler - 8 of 8 - Chunk 2 of 2: .* frames per second", c) for c in changes)


def test_ctrl_c_cancels_the_job_and_no_other(server: ComfyServer, client: Client, tmp_path: Path) -> None:
    script = start(server, tmp_path, FOREVER)
    wait_for(client, "running", 1)
    other = client.queue(walk("w-3", seed=33))
    time.sleep(1)  # until it computes
    script.send_signal(signal.SIGINT)
    _, complaints = script.communicate(timeout=30)
    assert script.returncode == 1
    assert complaints.split() == ["Cancelled,", "on", "the", "server", "too."]
    client.follow(other)
    assert other.status == "success"
    assert in_queue(client) == {"running": [], "pending": []}


def test_ctrl_c_takes_a_waiting_job_out_of_the_queue(server: ComfyServer, client: Client, tmp_path: Path) -> None:
    running = client.queue(FOREVER)
    script = start(server, tmp_path, walk("w-3", seed=34))
    wait_for(client, "pending", 1)
    script.send_signal(signal.SIGINT)
    script.communicate(timeout=30)
    assert in_queue(client) == {"running": [running.prompt_id], "pending": []}
    client.interrupt()
    client.follow(running)
    assert running.status == "interrupted"
