"""`hyworld generate`, killed (SIGKILL) at any moment: video and world on disk are whole and lack little.

`HYWORLD_KILLS=30 pytest tests/cli/test_kill.py` kills more often than the suite does.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
import torch

import hyworld
from hyworld import Chunk, Pipeline, Trajectory, World

KILLS = int(os.environ.get("HYWORLD_KILLS", "2"))
CHUNKS = 6
EVERY = 2
POSE = f"w-9, right-{4 * CHUNKS - 10}"

# The command itself; it says when a chunk was made, and when `write` took it.
DRIVER = f"""
import sys
from hyworld.video import VideoWriter
write = VideoWriter.write
def told(self, frames):
    print("made", flush=True)
    write(self, frames)
    print("given", flush=True)
VideoWriter.write = told
from hyworld.cli.main import main
main(["generate", "--preset", "tiny-random", "--size", "64x96", "--pose", "{POSE}", "--device", "cpu",
      "--prompt", "a street", "--prompt", "3: rain", "--autosave", "{EVERY}"])
"""


@pytest.fixture(scope="module")
def pipeline() -> Iterator[Pipeline]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as the processes that are killed: sums depend on it
    yield hyworld.load(preset="tiny-random", device="cpu")
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def walked(pipeline: Pipeline) -> list[Chunk]:
    """The walk that no one kills."""
    start = pipeline.start(text="a street", size=(64, 96))
    return list(pipeline.walk(start, Trajectory.from_tokens(POSE).split(4), prompts={3: "rain"}))


def frames_in(file: Path) -> int:
    """Raises if any frame is damaged."""
    if file.stat().st_size == 0:  # opened for the first chunk a moment ago
        return 0
    with av.open(str(file)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_walk_plays_and_goes_on(tmp_path: Path, number: int, pipeline: Pipeline, walked: list[Chunk]):
    """The video lacks at most the chunk in work, the world at most those since it was last saved."""
    moment = random.Random(f"kill {number}")
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    said: list[str] = []
    try:
        # Killed some time after a line that chance chooses: while a chunk is made, or while it is encoded.
        last = moment.randrange(2, 2 * CHUNKS)
        while len(said) < last:
            line = process.stdout.readline()
            assert line, "the walk ended by itself"
            said.append(line.strip())
        time.sleep(moment.choice([0.0, 0.03, 0.6]) * moment.random())
    finally:
        process.kill()
    said += process.stdout.read().splitlines()
    process.wait()

    made, given = said.count("made"), said.count("given")
    videos = {file.name: frames_in(file) for file in tmp_path.glob("[!.]*.mp4")}
    worlds = {file.name: World.load(file) for file in tmp_path.glob("[!.]*.world")}
    saved = {name: world.chunks for name, world in worlds.items()}
    print(f"kill {number}: {made} chunks made, {given} given, frames on disk: {videos}, chunks: {saved}")
    assert set(videos) <= {"walk.part.mp4", "walk.mp4"}
    # `write` returns once the chunk before is on disk; the one it took is in work.
    assert videos or given <= 1
    for frames in videos.values():
        assert frames == 0 or frames % 16 == 13  # whole chunks: 13, 29, 45, …
        assert given - 1 <= (frames + 3) // 16 <= made

    assert set(worlds) <= {"walk.part.world"}
    # The chunk that was due may be on its way to the disk. A walk that ended well keeps no world.
    assert worlds or made <= EVERY or "walk.mp4" in videos
    for world in worlds.values():
        assert made - EVERY <= world.chunks <= made
        assert world == walked[world.chunks - 1].world
        for again, once in zip(
            pipeline.walk(world, Trajectory.from_tokens(POSE).split(4)[world.chunks :][:2], prompts={3: "rain"}),
            walked[world.chunks :],
            strict=False,
        ):
            assert again.world == once.world
            assert torch.equal(again.frames, once.frames)
