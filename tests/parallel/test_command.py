"""`--gpus`: what the command says, what it leaves, and what happens when one of its processes is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from hyworld.cli.main import main

ROOT = Path(__file__).parents[2]
LONG = ("--pose", "w-39, right-40", "--preset", "tiny-random", "--size", "96x96", "--device", "cpu", "--gpus", "2")

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")


class Started:
    """`hyworld arguments` in `folder`, and all the processes that it started."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._mark = f"HYWORLD_MARK={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        self.folder = folder
        self.launcher = subprocess.Popen(
            [sys.executable, "-m", "hyworld", *arguments],
            cwd=folder,
            env={**os.environ, name: value, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def alive(self) -> dict[int, str]:
        """Environment by process."""
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            try:
                environment = (place / "environ").read_text(errors="replace")
                state = (place / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if self._mark in environment and state != "Z":
                found[int(place.name)] = environment
        return found

    def process(self, rank: int) -> int:
        (found,) = (pid for pid, environment in self.alive().items() if f"\0RANK={rank}\0" in environment)
        return found

    def wait_for_video(self, chunks: int) -> Path:
        """The video while it is made, with so many chunks."""
        part = self.folder / "walk.part.mp4"
        until = time.monotonic() + 120
        while frames_in(part) < 16 * chunks - 3:
            assert time.monotonic() < until
            assert self.launcher.poll() is None, self.launcher.communicate()
            time.sleep(0.1)
        return part

    def ended(self) -> tuple[int, str, float]:
        """Exit code, standard error and the seconds until no process was left."""
        began = time.monotonic()
        _, said = self.launcher.communicate(timeout=30)
        while self.alive():
            assert time.monotonic() < began + 30, self.alive().keys()
            time.sleep(0.05)
        return self.launcher.returncode, said, time.monotonic() - began


def frames_in(file: Path) -> int:
    if not file.exists() or not file.stat().st_size:
        return 0
    with av.open(str(file)) as container:
        return sum(1 for _ in container.decode(video=0))


def errors(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("error: ")]


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    return capsys.readouterr().err


def test_more_gpus_than_there_are(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    for there, words in ((0, "has no GPU"), (3, "has 3 GPUs: take --gpus 3")):
        monkeypatch.setattr("torch.cuda.device_count", lambda there=there: there)
        monkeypatch.setattr("hyworld.cli.launch.pick_device", lambda device: __import__("torch").device("cuda"))
        assert words in refusal(capsys, "generate", "--gpus", "4")
    assert "leave --device out" in refusal(capsys, "generate", "--gpus", "2", "--device", "cuda:1")


@pytest.mark.slow
def test_a_shared_walk_is_made_by_all_and_told_by_one(tmp_path: Path):
    started = Started(tmp_path, "generate", *LONG, "--chunks", "2")
    out, said = started.launcher.communicate(timeout=120)
    assert started.launcher.returncode == 0, said
    assert out.count("walk.mp4: 29 frames") == 1
    assert not errors(said)
    assert frames_in(tmp_path / "walk.mp4") == 29
    assert not started.alive()


@pytest.mark.slow
def test_heads_that_cannot_be_shared(tmp_path: Path):
    started = Started(tmp_path, "generate", *LONG[:-1], "3")
    code, said, _ = started.ended()
    assert code == 2
    assert errors(said) == ["error: The model has 4 heads, which 3 GPUs cannot share: take 2, 4 GPUs."], said
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_weights_that_cannot_be_read(tmp_path: Path):
    started = Started(tmp_path, "generate", *LONG, "--split-weights", "read")
    code, said, _ = started.ended()
    assert code == 2
    (sentence,) = errors(said)
    assert "cannot read each other's memory" in sentence
    assert not list(tmp_path.iterdir())


def kill_second(started: Started) -> None:
    os.kill(started.process(1), signal.SIGKILL)


def kill_leader(started: Started) -> None:
    os.kill(started.process(0), signal.SIGKILL)


def kill_launcher(started: Started) -> None:
    started.launcher.kill()


def interrupt_all(started: Started) -> None:
    for process in started.alive():  # as a terminal does
        os.kill(process, signal.SIGINT)


@pytest.mark.slow
@pytest.mark.parametrize("end", [kill_second, kill_leader, kill_launcher, interrupt_all])
def test_a_process_that_ends_ends_the_walk(tmp_path: Path, end: Callable[[Started], None]):
    """Within 10 s, with one sentence, what was made playable, and no process left."""
    started = Started(tmp_path, "generate", *LONG)
    started.wait_for_video(2)
    end(started)
    code, said, seconds = started.ended()
    videos = {file.name: frames_in(file) for file in tmp_path.glob("[!.]*.mp4")}
    print(f"{end.__name__}: {seconds:.1f} s, exit code {code}, {videos}\n{said}")
    assert seconds < 10
    assert len(videos) == 1
    assert all(frames >= 29 and frames % 16 == 13 for frames in videos.values())
    if end is kill_launcher:
        return
    assert code == 1
    (sentence,) = errors(said)
    if end is kill_second:
        assert "Process 2 of the 2" in sentence
        assert "walk.mp4" in videos
    if end is kill_leader:
        assert "SIGKILL" in sentence
    if end is interrupt_all:
        assert sentence == "error: interrupted"
