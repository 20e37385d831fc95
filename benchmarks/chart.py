"""A bar chart of result files: where a chunk's time goes, in the original's method and in ours.

    python -m benchmarks.chart result.json [more.json ...] docs/images/speed.png [--without "fast memory"]

Draws the baseline and the runs at the first run's size, slowest first.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

SCALE = 2
"""Pixels per point; GitHub shows the picture at half size."""

WIDTH = 880
MARGIN = 28
LABELS = 196
ENDS = 128
BAR = 30
ROW = 54
TOP = 112
BOTTOM = 46

PAPER, INK, QUIET, LINE = "#ffffff", "#1f2328", "#656d76", "#e7eaee"
PARTS = {"prefill": "#2f6fb3", "steps": "#7fb2e0", "decode": "#f0a04b", "rest": "#c3c8ce"}
MEANING = {
    "prefill": "memory (prefill)",
    "steps": "four denoising steps",
    "decode": "decode",
    "rest": "everything else",
}


class Bar(NamedTuple):
    """One bar; `parts` are milliseconds."""

    name: str
    remark: str
    parts: dict[str, float]
    fps: float


def bars(results: list[dict[str, Any]], without: list[str]) -> tuple[list[Bar], str]:
    """The bars, slowest first, and a line with their size and device."""
    size = results[0]["runs"][0]["options"]["size"]
    found = []
    for result in results:
        baseline = result.get("baseline")  # not in files of `hyworld bench`
        if baseline and baseline["size"] == size:
            parts = {**baseline["stages_ms"], "rest": 0.0}
            found.append(Bar("Original's method", "network and decoder alone", parts, baseline["fps"]))
        for run in result["runs"]:
            if run["options"]["size"] == size and not any(word in run["name"] for word in without):
                found.append(run_bar(run))
    device = results[0]["environment"]["device"]
    return sorted(found, key=lambda bar: -sum(bar.parts.values())), f"{size[1]} x {size[0]} pixels, {device}"


def run_bar(run: dict[str, Any]) -> Bar:
    stages, options = run["settled"]["stages_ms"], run["options"]
    steps = sum(value for stage, value in stages.items() if stage.startswith("step_"))
    parts = {"prefill": stages["prefill"], "steps": steps, "decode": stages["decode"]}
    parts["rest"] = max(0.0, run["settled"]["chunk_ms"] - sum(parts.values()))
    name = "This pack, " + ("fp8" if options["linears"] == "fp8" else "exact")
    if options["decoder"] == "tiny":
        name += ", tiny decoder"
    remark = "Triton kernels" if run["kernels_used"] == "triton" else "PyTorch alone"
    if options["kv"] != "auto":
        remark += f", {options['kv']} memory"
    if options.get("attention", "auto") != "auto":
        remark += f", {options['attention']} attention"
    if options["graphs"] != "auto":
        remark += f", graphs {options['graphs']}"
    return Bar(name, remark, parts, run["settled"]["fps"])


def draw(shown: list[Bar], where: str) -> Image.Image:
    height = TOP + ROW * len(shown) + BOTTOM
    image = Image.new("RGB", (WIDTH * SCALE, height * SCALE), PAPER)
    pen = ImageDraw.Draw(image)

    def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        return ImageFont.load_default(size=size * SCALE)

    def write(x: float, y: float, text: str, size: float, fill: str = INK, anchor: str = "lm") -> float:
        pen.text((x * SCALE, y * SCALE), text, fill=fill, font=font(size), anchor=anchor)
        return pen.textlength(text, font=font(size)) / SCALE

    def box(left: float, top: float, right: float, bottom: float, fill: str) -> None:
        pen.rectangle((left * SCALE, top * SCALE, right * SCALE - 1, bottom * SCALE - 1), fill=fill)

    write(MARGIN, 32, "Time for one chunk of 16 frames", 20)
    write(MARGIN, 57, f"milliseconds, memory full, {where}", 13, QUIET)
    x: float = MARGIN
    for part, colour in PARTS.items():
        box(x, 79, x + 12, 91, colour)
        x += 18 + write(x + 18, 85, MEANING[part], 13) + 22

    left, right = MARGIN + LABELS, WIDTH - MARGIN - ENDS
    longest = max(sum(bar.parts.values()) for bar in shown)
    unit = (right - left) / longest
    tick = next(step for step in (10, 20, 50, 100, 250, 500, 1000, 2500, 5000, 10**9) if longest / step <= 6)
    end = TOP + ROW * len(shown)
    for value in range(0, int(longest) + 1, tick):
        box(left + value * unit, TOP, left + value * unit + 1, end, LINE)
        write(left + value * unit, end + 14, f"{value:,} ms" if value else "0", 11.5, QUIET, "mm")

    for i, bar in enumerate(shown):
        middle = TOP + ROW * i + ROW / 2
        write(MARGIN, middle - 8, bar.name, 13.5)
        write(MARGIN, middle + 9, bar.remark, 11.5, QUIET)
        x = left
        for part, colour in PARTS.items():
            length = bar.parts[part] * unit
            if length * SCALE >= 1:
                box(x, middle - BAR / 2, x + length, middle + BAR / 2, colour)
            number = f"{bar.parts[part]:.0f}"
            if length > 34 and part != "rest":
                write(x + length / 2, middle, number, 12, "#ffffff" if part == "prefill" else INK, "mm")
            x += length
        box(x + 6, middle - BAR / 2 - 2, x + ENDS - 30, middle + BAR / 2 + 2, PAPER)
        write(x + 10, middle - 8, f"{sum(bar.parts.values()):,.0f} ms", 13.5)
        write(x + 10, middle + 9, f"{bar.fps:.1f} frames/s", 11.5, QUIET)
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path, help="result files of benchmarks.publish or hyworld bench")
    parser.add_argument("picture", type=Path, help="PNG to write")
    parser.add_argument("--without", action="append", default=[], help="leave out runs whose name has this in it")
    options = parser.parse_args()
    shown, where = bars([json.loads(file.read_text()) for file in options.results], options.without)
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    draw(shown, where).save(options.picture, optimize=True)


if __name__ == "__main__":
    main()
