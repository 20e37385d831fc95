"""The README's recording of a live walk: `python -m benchmarks.live_recording docs/images/live.webp`.

Starts `hyworld play`, walks in headless Chromium (playwright-core from $PLAYWRIGHT_CORE) and films the page.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

from PIL import Image

from hyworld.cli.console import write_whole

from .live_page import in_a_page

PACE = 8
"""Pictures a second."""

WIDTH = 720


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("play", nargs="*", help="options of hyworld play")
    asked = parser.parse_args()
    with in_a_page(asked.play, "live_recording.cjs", pace=PACE) as taken:
        pictures = [Image.open(picture["file"]).convert("RGB") for picture in taken]
    small = [
        picture.resize((WIDTH, WIDTH * picture.height // picture.width), Image.Resampling.LANCZOS)
        for picture in pictures
    ]
    lasts = [after["at"] - before["at"] for before, after in pairwise(taken)] + [2000]

    def write(part: Path) -> None:
        first, *rest = small
        first.save(part, "WEBP", save_all=True, append_images=rest, duration=lasts, loop=0, quality=60, method=4)

    write_whole(asked.output, write, overwrite=True)


if __name__ == "__main__":
    main()
