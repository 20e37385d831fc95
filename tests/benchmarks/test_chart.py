"""The chart shows the runs of result files, drawn to scale."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import chart


def run(name: str, ms: float, size: tuple[int, int] = (704, 1280), **options: object) -> dict:
    stages = {"selection": 10, "prefill": ms / 4, **{f"step_{n}": ms / 16 for n in range(4)}, "decode": ms / 4}
    chosen = {"size": list(size), "linears": "exact", "decoder": "full", "kv": "fast", "graphs": False, **options}
    settled = {"chunk_ms": ms, "fps": 16000 / ms, "stages_ms": stages}
    return {"name": name, "options": chosen, "kernels_used": "triton", "settled": settled}


@pytest.fixture
def result() -> dict:
    naive = {"size": [704, 1280], "stages_ms": {"prefill": 600, "steps": 700, "decode": 700}, "fps": 8}
    runs = [run("exact", 1200), run("compact memory", 1300, kv="compact"), run("480", 500, (480, 832))]
    return {"environment": {"device": "a card"}, "runs": runs, "baseline": naive}


def test_the_slowest_comes_first_and_other_sizes_stay_out(result: dict):
    shown, where = chart.bars([result], ["compact"])
    assert [bar.name for bar in shown] == ["Original's method", "This pack, exact"]
    assert [sum(bar.parts.values()) for bar in shown] == [2000, 1200]
    assert shown[1].parts == {"prefill": 300, "steps": 300, "decode": 300, "rest": 300}
    assert where == "1280 x 704 pixels, a card"
    assert len(chart.bars([result, result], [])[0]) == 6
    del result["baseline"]  # as `hyworld bench` writes it
    assert len(chart.bars([result], [])[0]) == 2


def test_bars_have_the_length_of_their_time(result: dict):
    shown, where = chart.bars([result], ["compact"])
    image = chart.draw(shown, where)
    assert image.size == (chart.WIDTH * 2, (chart.TOP + 2 * chart.ROW + chart.BOTTOM) * 2)
    colours = {tuple(int(code[i : i + 2], 16) for i in (1, 3, 5)) for code in chart.PARTS.values()}
    lengths = []
    for i in range(2):
        y = int((chart.TOP + chart.ROW * (i + 0.5) - chart.BAR / 2 + 2) * 2)
        lengths.append(sum(image.getpixel((x, y)) in colours for x in range(image.width)))
    assert lengths[1] / lengths[0] == pytest.approx(1200 / 2000, abs=0.01)


def test_the_script_writes_a_png(result: dict, tmp_path: Path):
    (tmp_path / "r.json").write_text(json.dumps(result))
    done = subprocess.run([sys.executable, chart.__file__, "r.json", "images/speed.png"], cwd=tmp_path)
    assert done.returncode == 0
    with Image.open(tmp_path / "images" / "speed.png") as image:
        assert image.format == "PNG"
        assert image.width == 1760
