"""Walks that worker processes share on a real server: killed workers, a killed server, a live walk, a cancelled one.

The numbers are compared in `inprocess/checks_gpus.py`.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from hyworld import World

from .client import Client, Prompt
from .conftest import street_picture
from .installation import Installation
from .live_walker import walker_of
from .results import latents
from .server import ComfyServer
from .test_server_killed import filmed, frames_in
from .test_server_live import LIVE, again, live
from .walks import changed, slowed, walk

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc"),
]

PATH = "w-3, right-8, w-8"
STEPS = 4


def by_two(prompt: Prompt) -> Prompt:
    return changed(prompt, "model", gpus=2)


def workers(server: ComfyServer) -> list[int]:
    """The processes that it started for walks; those of a server that is gone, too."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes()
            state = (place / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if b"begin.py" in command and str(server.folder).encode() in command and state != "Z":
            found.append(int(place.name))
    return found


def gone(server: ComfyServer, seconds: float = 10) -> float:
    """Seconds until no worker is left."""
    began = time.monotonic()
    while workers(server):
        assert time.monotonic() < began + seconds, workers(server)
        time.sleep(0.05)
    return time.monotonic() - began


def test_a_killed_worker_fails_the_prompt_and_not_the_next(fresh_server: ComfyServer) -> None:
    server = fresh_server
    client = Client(server.url)
    prompt = by_two(filmed(walk(PATH, seed=11)))
    run = client.queue(slowed(prompt, 0.1))
    client.follow(run, until=lambda event: event.kind == "progress" and event.data["value"] >= 3 * STEPS + 2)
    (worker,) = workers(server)
    killed = time.monotonic()
    os.kill(worker, signal.SIGKILL)
    client.follow(run)
    seconds = time.monotonic() - killed
    assert run.status == "error"
    assert run.error.strip() == "Process 2 of the 2 that share this walk has ended, so the walk ends here."
    assert seconds < 10
    gone(server)
    folder = server.input.parent / "output" / "hyworld_unfinished"
    (film,) = folder.glob("[!.]*.mp4")
    (world,) = folder.glob("[!.]*.world")
    print(f"ended after {seconds:.1f} s, {frames_in(film)} frames, {World.load(world).chunks} chunks")
    assert frames_in(film) == 13 + 2 * 16
    assert World.load(world).chunks == 3

    after = client.run(prompt)
    assert after.status == "success", after.error
    assert len(workers(server)) == 1
    assert workers(server) != [worker]
    one = client.run(filmed(walk(PATH, seed=11)))
    two, alone = latents(client, after), latents(client, one)
    assert (two - alone).norm() / alone.norm() < 1e-5


def test_workers_end_with_a_killed_server(comfyui: Installation, tmp_path: Path) -> None:
    with ComfyServer(comfyui, tmp_path / "killed") as server:
        street_picture().save(server.input / "street.png")
        client = Client(server.url)
        run = client.queue(slowed(by_two(walk(PATH)), 0.1))
        client.follow(run, until=lambda event: event.kind == "progress" and event.data["value"] >= STEPS + 2)
        assert len(workers(server)) == 1
        server.kill()
        print(f"after {gone(server):.1f} s")


def test_a_live_walk_with_a_sampler_after_it_and_a_cancelled_one(fresh_server: ComfyServer) -> None:
    server = fresh_server
    client = Client(server.url)
    run = client.queue(by_two(again(live())))
    walker = walker_of(client, run, server.url)
    walked = walker.walk("w", to=2)
    walker.say("back", chunks=1)
    walker.until(lambda message: message["type"] == "state" and message["chunks"] == 1)
    walked = walker.walk("right", to=2)
    walker.say("stop")
    assert walker.end() == ""
    client.follow(run)
    assert run.status == "success", run.error
    folder = server.input.parent / "output" / "live"
    (of_live,), (of_sampler,) = (list(folder.glob(f"{name}_*.world")) for name in ("walked", "again"))
    assert World.load(of_live).chunks == walked
    assert World.load(of_live) == World.load(of_sampler)
    (worker,) = workers(server)

    cancelled = client.queue(slowed(by_two(walk(PATH)), 0.1))
    client.follow(cancelled, until=lambda event: event.kind == "progress" and event.data["value"] >= STEPS + 2)
    client.interrupt()
    assert client.follow(cancelled).status == "interrupted"
    assert client.run(by_two(walk())).status == "success"
    assert workers(server) == [worker]

    client.post("/free", {"unload_models": True, "free_memory": True})
    gone(server)
    assert LIVE in run.outputs
