"""`hyworld generate`, killed (SIGKILL) at any moment: what is on disk plays and lacks no finished chunk.

`HYWORLD_KILLS=30 pytest tests/cli/test_kill.py` kills more often than the suite does.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

KILLS = int(os.environ.get("HYWORLD_KILLS", "2"))
CHUNKS = 10

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
main(["generate", "--size", "96x160", "--pose", "w-{4 * CHUNKS - 1}", "--device", "cpu"])
"""


def frames_in(file: Path) -> int:
    """Raises if any frame is damaged."""
    if file.stat().st_size == 0:  # opened for the first chunk a moment ago
        return 0
    with av.open(str(file)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_walk_is_playable_and_lacks_at_most_the_chunk_in_work(tmp_path: Path, number: int):
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
        time.sleep(moment.choice([0.03, 0.6]) * moment.random())
    finally:
        process.kill()
    said += process.stdout.read().splitlines()
    process.wait()

    made, given = said.count("made"), said.count("given")
    shown = {file.name: frames_in(file) for file in tmp_path.iterdir() if not file.name.startswith(".")}
    print(f"kill {number}: {made} chunks made, {given} given, frames on disk: {shown}")
    assert set(shown) <= {"walk.part.mp4", "walk.mp4"}
    # `write` returns once the chunk before is on disk; the one it took is in work.
    assert shown or given <= 1
    for frames in shown.values():
        assert frames == 0 or frames % 16 == 13  # whole chunks: 13, 29, 45, …
        assert given - 1 <= (frames + 3) // 16 <= made
