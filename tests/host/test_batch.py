"""`hyworld batch --comfyui` with real servers: the built-in world, pictures up and down, servers and drivers killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

import av
import numpy as np
import pytest
from PIL import Image

from hyworld.batch import server as asked
from hyworld.cli.main import main

from .client import Prompt
from .conftest import street_picture
from .installation import Installation
from .server import ComfyServer
from .walks import SAMPLER, node, slowed, walk

pytestmark = pytest.mark.host

ROOT = Path(__file__).parents[2]
QUICK_START = ROOT / "example_workflows" / "api" / "quick_start.json"


@pytest.fixture(scope="module")
def servers(comfyui: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ComfyServer]]:
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("batch")
        started = [stack.enter_context(ComfyServer(comfyui, folder / str(number))) for number in range(2)]
        for server in started:
            street_picture().save(server.input / "street.png")
        yield started


def command(folder: Path, workflow: Path, *servers: ComfyServer) -> list[str]:
    options = [option for server in servers for option in ("--comfyui", server.url)]
    return ["batch", str(folder / "walks.jsonl"), "--out", str(folder / "out"), "--workflow", str(workflow), *options]


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> SimpleNamespace:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    said = capsys.readouterr()
    return SimpleNamespace(code=left.value.code, out=said.out, err=said.err)


def driver(arguments: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "hyworld", *arguments]
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def lines(folder: Path, *walks: dict[str, Any]) -> None:
    (folder / "walks.jsonl").write_text("\n".join(map(json.dumps, walks)))


def asks(server: ComfyServer, path: str) -> Any:
    with urlopen(f"{server.url}{path}", timeout=30) as answer:
        return json.loads(answer.read())


def runs(server: ComfyServer) -> bool:
    return bool(asks(server, "/queue")["queue_running"])


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def frames(file: Path) -> int:
    with av.open(str(file)) as film:
        return sum(1 for _ in film.decode(video=0))


def videos(servers: list[ComfyServer]) -> dict[Path, bytes]:
    """What the servers keep of the workflows in the repository."""
    found = (file for server in servers for file in server.input.parent.glob("output/hyworld/*.mp4"))
    return {file: file.read_bytes() for file in found}


def saved(prompt: Prompt, folder: Path, name: str = "workflow") -> Path:
    """The prompt with a video, as a file."""
    film = node("SaveVideo", video=[SAMPLER, 4], filename_prefix="film", format="auto", codec="auto")
    file = folder / f"{name}.json"
    file.write_text(json.dumps({**prompt, "film": film}))
    return file


def test_two_servers_walk_in_the_built_in_world(
    tmp_path: Path, servers: list[ComfyServer], capsys: pytest.CaptureFixture[str]
) -> None:
    walks = [{"path": "w-3", "seed": seed, "name": f"walk{seed}"} for seed in range(3)]
    lines(tmp_path, *walks, {"path": "w-3, fly-4"}, {"speed": "fast"}, {"HYWorldTinyWorld.scene": 5, "path": "a-3"})
    arguments = command(tmp_path, QUICK_START, *servers)
    first = run(arguments, capsys)
    assert first.code == 1
    assert "4 of 6 walks made, 2 failed" in first.out
    assert "line 4: HYWorldCameraTrajectory: " in first.err
    assert "fly" in first.err
    assert "line 5: the workflow has no place for 'speed'" in first.err
    records = {file: json.loads(file.read_text()) for file in (tmp_path / "out").glob("[!.]*.json")}
    assert {record["server"] for record in records.values()} == {server.url for server in servers}
    for file in records:
        assert frames(file.with_suffix(".mp4")) == 13
    theirs = videos(servers)
    ours = {file.read_bytes() for file in (tmp_path / "out").glob("*.mp4")}
    assert len(ours) == 4
    assert ours <= set(theirs.values())
    assert not (tmp_path / "out" / ".work").exists()

    again = run(arguments, capsys)
    assert "0 of 2 walks made, 2 failed, 4 there before" in again.out
    assert videos(servers) == theirs
    assert {file: json.loads(file.read_text()) for file in records} == records


def test_pictures_go_up_and_come_down(
    tmp_path: Path, servers: list[ComfyServer], capsys: pytest.CaptureFixture[str]
) -> None:
    y, x = np.mgrid[0:64, 0:96]
    red = Image.fromarray(np.stack((255 - x, y, y), axis=-1).astype(np.uint8))
    red.save(tmp_path / "rot é.png")
    prompt = {**walk("w-3"), "first_seen": node("SaveImage", images=["picture", 0], filename_prefix="seen")}
    prompt["words"] = node("CLIPTextEncode", clip=["world", 1], text="not wired to the sampler")
    prompt["all"] = node("SaveImage", images=[SAMPLER, 0], filename_prefix="all")
    prompt["world_file"] = node("HYWorldSaveWorld", world=[SAMPLER, 3], filename_prefix="world")
    lines(tmp_path, {"picture": "rot é.png", "prompt": "rain", "name": "red"}, {"picture": "street.png", "name": "own"})
    said = run(command(tmp_path, saved(prompt, tmp_path), servers[0]), capsys)
    assert "2 of 2 walks made" in said.out, said.err
    record = json.loads((tmp_path / "out" / "red.json").read_text())
    pictures = [f"red+{number:04d}.png" for number in range(1, 15)]
    assert record["files"] == sorted([*pictures, "red.latent", "red.mp4", "red.world"])
    seen = [np.asarray(Image.open(tmp_path / "out" / name).convert("RGB")) for name in pictures]
    assert any(picture.shape == (64, 96, 3) and (picture == np.asarray(red)).all() for picture in seen)
    assert frames(tmp_path / "out" / "red.mp4") == frames(tmp_path / "out" / "own.mp4") == 13
    (last,) = [entry for entry in asks(servers[0], "/history").values() if "rain" in json.dumps(entry["prompt"][2])]
    assert last["prompt"][2]["prompt"]["inputs"]["text"] == "rain"
    assert last["prompt"][2]["words"]["inputs"]["text"] == "not wired to the sampler"


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_driver_leaves_no_work(
    tmp_path: Path, servers: list[ComfyServer], signal_number: signal.Signals
) -> None:
    slow, quick = saved(slowed(walk("w-7"), 5), tmp_path, "slow"), saved(walk("w-7"), tmp_path)
    lines(tmp_path, *({"seed": 10 * signal_number + seed} for seed in range(3)))
    before = [set(asks(server, "/history")) for server in servers]
    first = driver(command(tmp_path, slow, *servers))
    until(lambda: all(map(runs, servers)))
    first.send_signal(signal_number)
    _, said = first.communicate(timeout=60)
    if signal_number == signal.SIGINT:
        assert first.returncode == 1
        assert "error: interrupted" in said
        until(lambda: not any(map(runs, servers)), 20)
    assert [file.name for file in (tmp_path / "out").iterdir()] == [".lock"]

    second = driver(command(tmp_path, quick, *servers))
    out, said = second.communicate(timeout=120)
    assert "3 of 3 walks made" in out, said
    ended = [
        entry["status"]["status_str"]
        for server, known in zip(servers, before, strict=True)
        for job, entry in asks(server, "/history").items()
        if job not in known
    ]
    assert sorted(ended) == ["error", "error", "success", "success", "success"]
    assert all(frames(file) == 29 for file in (tmp_path / "out").glob("*.mp4"))


def test_a_killed_server_leaves_its_walk_to_another(
    comfyui: Installation,
    tmp_path: Path,
    servers: list[ComfyServer],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(asked, "SILENT", 2.0)
    workflow = saved(slowed(walk("w-7"), 0.3), tmp_path)
    lines(tmp_path, *({"seed": 200 + seed} for seed in range(3)))
    with ComfyServer(comfyui, tmp_path / "killed") as doomed:
        street_picture().save(doomed.input / "street.png")

        def kill() -> None:
            until(lambda: runs(doomed))
            time.sleep(0.5)
            doomed.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        said = run(command(tmp_path, workflow, servers[0], doomed), capsys)
        killer.join()
    assert "3 of 3 walks made" in said.out
    assert "is begun anew: " in said.err
    records = [json.loads(file.read_text()) for file in (tmp_path / "out").glob("[!.]*.json")]
    assert {record["server"] for record in records} == {servers[0].url}
    assert all(frames(file) == 29 for file in (tmp_path / "out").glob("*.mp4"))
