"""A walk that lasts, on a CPU: `python -m benchmarks.lasting_cpu` (the built-in world, video and autosave as they go).

Prints how time and memory of a chunk change over a long walk.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import hyworld
from hyworld.video import VideoWriter
from hyworld.walk.autosave import Autosave


def resident() -> float:
    """MB of this process in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=200, help="length of the walk")
    chunks = parser.parse_args().chunks
    pipeline = hyworld.load(device="cpu")
    height, width = pipeline.size
    times, sizes = [], []
    path = "w-3, " + ", ".join(["right-8, left-8, w-4, s-4"] * (chunks // 6 + 1))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = VideoWriter(folder / "walk.mp4", height, width)
        with video, Autosave(folder / "walk.part.world", every=4) as saves:
            last = time.perf_counter()
            for chunk in pipeline.walk(pipeline.start(), path, chunks):
                assert chunk.frames is not None
                video.write(chunk.frames)
                saves.keep(chunk)
                times.append(time.perf_counter() - last)
                sizes.append(resident())
                last = time.perf_counter()
                if len(times) % 20 == 0:
                    print(f"chunk {len(times)}: {statistics.median(times[-20:]):.3f} s each, {sizes[-1]:.0f} MB")
    print(
        f"{video.frames_written} frames; memory at chunk {chunks} over 20: {sizes[-1] / sizes[19]:.3f}, the largest "
        f"since {max(sizes[19:]) / sizes[19]:.3f}; time of the last 20 over chunks 5 to 24: "
        f"{statistics.median(times[-20:]) / statistics.median(times[4:24]):.3f}"
    )


if __name__ == "__main__":
    main()
