"""The file of walks, the folder of results, and the estimate of the end."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from hyworld.batch import lines, results
from hyworld.batch.estimate import Estimate
from hyworld.batch.lines import BadLine, Line
from hyworld.cli.batch import checked, plain
from hyworld.errors import InputError


def anything(options: dict[str, Any]) -> dict[str, Any]:
    return options


def written(folder: Path, *walks: Any) -> Path:
    file = folder / "walks.jsonl"
    file.write_text("\n".join(walk if isinstance(walk, str) else json.dumps(walk) for walk in walks))
    return file


def test_bad_lines_are_told_by_number_and_stop_nothing(tmp_path: Path):
    file = written(
        tmp_path, {"seed": 1}, "", "[1]", "{", {"name": "../x"}, {"name": "two", "seed": 2}, "é" * lines.LONGEST, "{}"
    )
    read = list(lines.read(file, anything, {"crop": "top"}))
    assert [(type(line), line.number) for line in read] == [
        (Line, 1), (BadLine, 3), (BadLine, 4), (BadLine, 5), (Line, 6), (BadLine, 7), (Line, 8)
    ]  # fmt: skip
    assert read[0].options == {"crop": "top", "seed": 1}
    assert read[4].name == "two"
    assert lines.count(file) == 7


def test_a_line_says_otherwise_under_either_name(tmp_path: Path):
    (line,) = lines.read(written(tmp_path, {"path": "w-7"}), anything, {"pose": "w-3", "seed": 1}, plain)
    assert isinstance(line, Line)
    assert line.options == {"seed": 1, "path": "w-7"}


def test_text_that_no_file_can_hold_is_a_bad_line(tmp_path: Path):
    file = written(tmp_path, r'{"prompt": "\ud800"}', "[" * 100_000)
    assert [type(line) for line in lines.read(file, anything, {})] == [BadLine, BadLine]


def test_a_file_of_100_000_lines_is_read_as_a_stream(tmp_path: Path):
    file = tmp_path / "walks.jsonl"
    with file.open("w") as out:
        out.writelines(f'{{"prompt": "{"street " * 20}", "seed": {seed}}}\n' for seed in range(100_000))
    tracemalloc.start()
    try:
        read = sum(isinstance(line, Line) for line in lines.read(file, anything, {}))
        assert lines.count(file) == read == 100_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000 < file.stat().st_size
    finally:
        tracemalloc.stop()


def test_names_tell_walks_of_other_options_apart(tmp_path: Path):
    one, other, named = lines.read(written(tmp_path, {"seed": 1}, {"seed": 2}, {"seed": 1, "name": "x"}), anything, {})
    assert isinstance(one, Line)
    assert isinstance(other, Line)
    assert isinstance(named, Line)
    assert one.key != other.key
    (elsewhere, *_) = lines.read(tmp_path / "walks.jsonl", anything, {}, made_by="another workflow")
    assert isinstance(elsewhere, Line)
    assert one.key != elsewhere.key
    with results.Results(tmp_path / "out") as kept:
        assert not kept.has(one)
        with results.work_folder(kept.folder) as work:
            (work / "walk.mp4").write_bytes(b"video")
            results.finish(kept.folder, named, {".mp4": work / "walk.mp4"}, {"seconds": 1})
        assert kept.has(named)
        assert (kept.folder / "x.mp4").read_bytes() == b"video"
        with pytest.raises(InputError, match="another walk"):
            kept.has(other._replace(name="x"))
        with pytest.raises(InputError, match="Another batch"), results.Results(tmp_path / "out"):
            pass
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [".lock", "x.json", "x.mp4"]


def test_options_of_a_line_are_those_of_generate(tmp_path: Path):
    (tmp_path / "path.json").write_text("{}")
    given = {
        "picture": "a.png", "path": "path.json", "turn_speed": 2, "third-person": True, "decoder": "tiny",
        "prompt": {"0": "a", "6": "b"}, "seed": 3, "crop": "top", "save_world": True, "negative": None,
    }  # fmt: skip
    assert checked(given, tmp_path) == {
        "image": tmp_path / "a.png", "pose": str(tmp_path / "path.json"), "turn_speed": 2.0, "third_person": True,
        "decoder": "tiny", "prompt": ["0: a", "6: b"], "seed": 3, "crop": "top", "save_world": True,
    }  # fmt: skip
    for wrong in ({"output": "x.mp4"}, {"speed": 1}, {"seed": "1"}, {"seed": True}, {"crop": "up"}, {"prompt": [1]}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            checked(wrong, tmp_path)


def test_the_estimate_counts_chunks():
    estimate = Estimate(10)
    assert estimate.seconds_left(5) is None
    estimate.there = 2
    estimate.works(1, 4.0, 4)
    estimate.ends(1, made=True)
    estimate.works(2, 2.0, 4)
    estimate.ends(3, made=False)
    assert (estimate.done, estimate.chunks) == (4, 6.0)
    # 6 chunks in 12 s; 2 are left of the walk in work, 5 walks of 4 come.
    assert estimate.seconds_left(12.0) == pytest.approx(2 * (2 + 5 * 4))
    estimate.dropped(2)
    assert estimate.seconds_left(8.0) == pytest.approx(2 * 6 * 4)
    assert str(estimate) == "1 of 8 walks made, 1 failed, 2 there before, 4 chunks"
