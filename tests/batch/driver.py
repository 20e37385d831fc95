"""`hyworld batch` as a process of its own, and what it leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import av

ROOT = Path(__file__).parents[2]
WALK = {"preset": "tiny-random", "size": "64x96", "path": "w-7"}


def batch(folder: Path, *options: object, **environment: str) -> subprocess.Popen[str]:
    """Of walks.jsonl in `folder`, into out."""
    command = [sys.executable, "-m", "hyworld", "batch", "walks.jsonl", "--out", "out", "--device", "cpu"]
    return subprocess.Popen(
        [*command, *map(str, options)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def records(folder: Path) -> dict[str, tuple[int, int]]:
    """Of finished walks; the file of one made again would be another."""
    found = {}
    for file in (folder / "out").glob("[!.]*.json"):
        state = file.stat()
        found[file.name] = (state.st_ino, state.st_mtime_ns)
    return found


def frames(file: Path) -> int:
    """Raises if any is damaged."""
    with av.open(str(file)) as container:
        return sum(1 for _ in container.decode(video=0))
