"""A live walk through the page: `python -m benchmarks.live_page --seconds 60 -- --decoder tiny` (options of play last).

Starts `hyworld play`, holds a key in headless Chromium (playwright-core from $PLAYWRIGHT_CORE), and prints frames per
second, stalls, and the delay from a key event to the first frame that shows it.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@contextmanager
def in_a_page(options: list[str], program: str, **scene: Any) -> Iterator[Any]:
    """What a program for Node.js, in this folder, tells of a page of `hyworld play` with these options."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("There is no Chromium: install one.")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hyworld.cli.main", "play", "--no-browser", "--port", "0", "--autosave", "0"]
        with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            url = next((found[0] for line in server.stdout if (found := re.search(r"http://\S+", line))), None)
            given = json.dumps(
                {"url": url, "chromium": chromium, "profile": f"{folder}/profile", "folder": folder, **scene}
            )
            try:
                told = subprocess.run(
                    ["node", str(HERE / program), given], stdout=subprocess.PIPE, text=True, check=True
                )
            finally:
                server.terminate()
        yield json.loads(told.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long the key is held")
    parser.add_argument("--picture", type=Path, help="a screenshot of the walk")
    parser.add_argument("play", nargs="*", help="options of hyworld play")
    asked = parser.parse_args()
    picture = asked.picture and str(asked.picture.resolve())
    with in_a_page(asked.play, "live_page.cjs", seconds=asked.seconds, picture=picture) as seen:
        delays = sorted(seen["delays"])
    print(
        f"{seen['sustained']:.2f} frames/s over {asked.seconds:g} s, {seen['stalls']} stalls, {seen['late']} frames "
        f"late; a chunk is made in {seen['seconds']:.2f} s; key to picture: median {statistics.median(delays):.0f} ms, "
        f"95th percentile {delays[int(0.95 * len(delays))]:.0f} ms, longest {delays[-1]:.0f} ms, of {len(delays)}"
    )


if __name__ == "__main__":
    main()
