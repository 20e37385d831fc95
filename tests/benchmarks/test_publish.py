"""The publication command on the tiny model: the suite, its result file, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import chart, publish
from benchmarks.baseline import Baseline
from hyworld.bench.workload import Setup
from hyworld.config import WAN_5B
from hyworld.errors import InputError
from hyworld.modes import Modes

SIZE = (64, 64)
STAGES = {"prefill": 40_000.0, "steps": 60_000.0, "decode": 60_000.0}
"""Slower than ours on any machine: the chart sorts by time."""
NAIVE = Baseline("naive", [64, 64], True, 7, STAGES, 100_000.0, 160_000.0, 10.0, None, 0, 0)


@pytest.fixture
def result_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`result_of(setups, *arguments)` runs the command on a suite of `setups` and reads its file."""

    def run(setups: list[Setup], *arguments: str) -> dict:
        monkeypatch.setattr(publish, "suite", lambda preset, chunks: setups)
        file = tmp_path / "r.json"
        try:
            publish.main(["--preset", "tiny-random", "--device", "cpu", "--json", str(file), *arguments])
        finally:
            assert [found.name for found in tmp_path.iterdir()] == ["r.json"]
            run.kept = json.loads(file.read_text())
        return run.kept

    return run


def test_everything_is_in_the_file_and_the_chart_can_read_it(result_of, monkeypatch, capsys):
    monkeypatch.setattr(publish, "check_diffusers", lambda: None)
    monkeypatch.setattr(publish, "measure_naive", lambda source, size, say: NAIVE)
    setups = [Setup(SIZE, 7), Setup(SIZE, 7, decoder="tiny"), Setup((32, 64), 7)]
    result = result_of(setups, "--baseline", "naive", "--prices")
    # The fields of files written before this was a command of its own.
    fields = "format hyworld environment weights preset recipe dtype runs skipped baseline prices"
    assert list(result) == fields.split()
    assert [run["first_in_process"] for run in result["runs"]] == [True, False, False]
    ratios = result["baseline"]["ratios"]
    decode = result["runs"][0]["settled"]["stages_ms"]["decode"]
    assert ratios["64x64 exact"]["decode"] == pytest.approx(decode / 60_000, abs=1e-4)
    assert ratios["32x64 exact"] is None
    assert [price["name"] for price in result["prices"]] == ["tiny decoder"]
    shown, _ = chart.bars([result], [])
    names = [bar.name for bar in shown]
    assert names[0] == "Original's method", "the slowest first"
    assert set(names[1:]) == {"This pack, exact", "This pack, exact, tiny decoder"}
    printed = capsys.readouterr().out
    for text in ("160000.0", "dB PSNR", "kernels of earlier runs", "its flow differs", "mean nothing"):
        assert text in printed


def test_a_suite_keeps_what_it_has(result_of, monkeypatch: pytest.MonkeyPatch):
    measure = publish.measure

    def second_is_missing_third_is_stopped(source, setup, say, **rest):
        if setup.chunks == 8:
            raise InputError("no such mode here.")
        if setup.chunks == 9:
            raise KeyboardInterrupt
        return measure(source, setup, say, **rest)

    monkeypatch.setattr(publish, "measure", second_is_missing_third_is_stopped)
    with pytest.raises(KeyboardInterrupt):
        result_of([Setup(SIZE, 7), Setup((32, 64), 8), Setup(SIZE, 9)])
    assert [run["name"] for run in result_of.kept["runs"]] == ["64x64 exact"]
    assert result_of.kept["skipped"] == {"32x64 exact": "no such mode here."}


def test_a_suite_of_which_nothing_runs_says_why(result_of, capsys):
    with pytest.raises(SystemExit, match="2"):
        result_of([Setup(SIZE, 7, Modes(graphs="on"))])
    assert "Nothing of the suite can run here: The CUDA graphs cannot run" in capsys.readouterr().err


def test_runs_are_chosen_by_name(result_of):
    result = result_of([Setup(SIZE, 7), Setup((32, 64), 7)], "--only", "32x64 exact")
    assert [run["name"] for run in result["runs"]] == ["32x64 exact"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--only", "exact"), "no run 'exact': choose from 160x288 exact; 160x288 exact, plain kernels"),
        (("--chunks", "6"), "--chunks"),
        (("--json", "r.txt"), ".json"),
    ],
)
def test_wrong_options_are_said_in_one_sentence(
    capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], said: str
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        publish.main(["--device", "cpu", "--json", "r.json", *options])
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_the_suite_has_every_mode_once():
    setups = publish.suite(WAN_5B, 14)
    names = [setup.name for setup in setups]
    assert len(set(names)) == len(names)
    assert names[0] == "704x1280 exact"
    assert {
        "704x1280 exact, plain kernels",
        "704x1280 exact, fast memory",
        "704x1280 exact, graphs off",
        "704x1280 fp8, tiny decoder",
        "704x1280 fp8, tiny decoder, fp8 attention",
        "704x1280 fp8, tiny decoder, fp8 attention, 8 remembered",
        "480x832 exact",
    } < set(names)
    assert setups[0].chunks == publish.LONG >= 63
    assert Setup((64, 64), 7, Modes(graphs="on"), decode_at_once=2).name == "64x64 exact, graphs on, decoding 2 at once"
