"""`hyworld batch` with Ray's workers on this machine.

`HYWORLD_KILLS=20 pytest tests/batch` kills at random moments, and more often.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from hyworld.cli.main import main

from .driver import WALK, batch, frames, records

pytest.importorskip("ray", reason="Ray is not installed")

KILLS = int(os.environ.get("HYWORLD_KILLS", "0"))
CAN_KILL = Path("/proc/self/environ").exists()


def kill(worker: int) -> bool:
    os.kill(worker, signal.SIGKILL)
    return True


def workers(mark: str, title: str = "ray::_Worker") -> list[int]:
    """Those with `mark` in their environment, which they have from their driver."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if title in (place / "cmdline").read_text() and mark in (place / "environ").read_text():
                found.append(int(place.name))
        except OSError:
            continue
    return found


def until(holds: Callable[[], bool], seconds: float = 120) -> None:
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def pictures(file: Path) -> NDArray[np.float32]:
    with av.open(str(file)) as film:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]).astype(np.float32)


@pytest.mark.slow
def test_walks_are_made_once_and_bad_lines_told(tmp_path: Path):
    long = {**WALK, "path": "w-15"}
    named = {**WALK, "name": "named", "save_world": True}
    walks = [named, {**WALK, "size": "65x96"}, *({**long, "seed": seed} for seed in range(3))]
    (tmp_path / "walks.jsonl").write_text("\n".join(map(json.dumps, walks)) + "\nnonsense\n")
    first = batch(tmp_path)
    until(lambda: bool(records(tmp_path)))
    first.kill()
    first.communicate()
    made = records(tmp_path)
    record = json.loads((tmp_path / "out" / "named.json").read_text())
    assert record["files"] == ["named.mp4", "named.world"]
    assert record["options"] == {"device": "cpu", **WALK, "save_world": True}

    second = batch(tmp_path, "--workers", 2, HYWORLD_TEST=str(tmp_path))
    if CAN_KILL:
        until(lambda: bool(walking := workers(f"HYWORLD_TEST={tmp_path}", "ray::_Worker.walk")) and kill(walking[0]))
    out, said = second.communicate(timeout=200)
    assert second.returncode == 1
    there = len(made)
    assert f"{4 - there} of {6 - there} walks made, 2 failed, {there} there before" in out
    assert "line 2: The height must be a multiple of 32 pixels, got 65" in said
    assert "line 6: it is no JSON" in said
    assert said.count("is begun anew: its worker died") == CAN_KILL
    whole = records(tmp_path)
    assert {name: whole[name] for name in made} == made
    assert sorted(frames(file) for file in (tmp_path / "out").glob("[!.]*.mp4")) == [29, 61, 61, 61]

    with pytest.raises(SystemExit) as left:
        main(
            ["generate", "--preset", WALK["preset"], "--size", WALK["size"], "--pose", "w-7", "-o", f"{tmp_path}/a.mp4"]
        )
    assert left.value.code == 0
    alone, made_here = pictures(tmp_path / "a.mp4"), pictures(tmp_path / "out" / "named.mp4")
    assert alone.shape == made_here.shape == (29, 64, 96, 3)
    assert np.abs(alone - made_here).mean() < 1  # on other numbers of cores, sums have other last bits

    again = batch(tmp_path)
    out, _ = again.communicate(timeout=200)
    assert "0 of 2 walks made, 2 failed, 4 there before" in out
    assert records(tmp_path) == whole


@pytest.mark.skipif(not KILLS or not CAN_KILL, reason="HYWORLD_KILLS=20 kills so often; finds processes in /proc")
def test_killed_workers_and_drivers_lose_and_repeat_nothing(tmp_path: Path):
    chance, count = random.Random(5), 4 + 2 * KILLS
    walks = [{**WALK, "path": "w-15", "seed": seed} for seed in range(count)]
    (tmp_path / "walks.jsonl").write_text("\n".join(map(json.dumps, walks)))
    once: dict[str, tuple[int, int]] = {}
    marked = {"HYWORLD_TEST": str(tmp_path)}
    driver, kills, drivers = batch(tmp_path, "--workers", 2, **marked), 0, 0
    until = time.monotonic() + 120 + 30 * KILLS
    while True:
        assert time.monotonic() < until
        time.sleep(chance.uniform(0.5, 2.5))
        now = records(tmp_path)
        assert {name: now.get(name) for name in once} == once, "a finished walk was lost or made again"
        once = now
        if driver.poll() is not None:
            out, said = driver.communicate()
            assert driver.returncode == 0, said
            break
        if kills < KILLS and (alive := workers(f"HYWORLD_TEST={tmp_path}")):
            os.kill(chance.choice(alive), signal.SIGKILL)
            kills += 1
        elif drivers < (KILLS + 3) // 4 and now:
            driver.send_signal((signal.SIGKILL, signal.SIGTERM)[drivers % 2])
            _, said = driver.communicate()
            assert drivers % 2 == 0 or (driver.returncode, said.strip()[-11:]) == (1, "interrupted")
            driver, drivers = batch(tmp_path, "--workers", 2, **marked), drivers + 1
    print(f"{kills} workers and {drivers} drivers killed; {out}")
    assert kills == KILLS
    assert len(records(tmp_path)) == count
    assert all(frames(file) == 61 for file in (tmp_path / "out").glob("[!.]*.mp4"))


def test_ray_is_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    Path("walks.jsonl").write_text("{}")
    with pytest.raises(SystemExit) as left:
        main(["batch", "walks.jsonl", "--out", "out"])
    assert left.value.code == 2
    assert "pip install ray" in capsys.readouterr().err
