"""The README's GIF, from `hyworld generate` without options.

Command: `python -m benchmarks.walk_gif docs/images/tiny_world.gif`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import av
from PIL import Image

from hyworld.cli.console import write_whole
from hyworld.config import FRAMES_PER_SECOND

EVERY = 2
"""Frames of the video per picture of the GIF."""


def frames_of(video: Path) -> list[Image.Image]:
    with av.open(str(video)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


def save_gif(frames: list[Image.Image], path: Path) -> None:
    """Write a looping GIF with one palette for all frames, so that surfaces do not flicker."""
    sheet = Image.new("RGB", (frames[0].width, frames[0].height * len(frames)))
    for i, frame in enumerate(frames):
        sheet.paste(frame, (0, i * frame.height))
    palette = sheet.quantize(256, method=Image.Quantize.FASTOCTREE)
    pictures = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    duration = 1000 * EVERY // FRAMES_PER_SECOND

    def write(part: Path) -> None:
        pictures[0].save(part, "GIF", save_all=True, append_images=pictures[1:], duration=duration, loop=0)

    write_whole(path, write, overwrite=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the README's GIF of the first command.")
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "walk.mp4"
        subprocess.run([sys.executable, "-m", "hyworld.cli.main", "generate", "--output", video], check=True)
        save_gif(frames_of(video)[::EVERY], output)
    print(f"{output}: {output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
