"""`hyworld bench` on the tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hyworld.bench.measure import STAGES
from hyworld.bench.workload import Setup
from hyworld.cli import bench
from hyworld.errors import InputError
from hyworld.verify import REFERENCE


def test_a_run_prints_tables_and_writes_json(hyworld, tmp_path: Path):
    done = hyworld("bench", "--size", "64x64", "--chunks", 8, "--decoder", "tiny", "--json", "r.json")
    assert done.returncode == 0, done.stderr
    assert "prefill" in done.stdout
    assert "frames/s" in done.stdout
    assert "measuring, chunk 8 of 8" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["r.json"]
    result = json.loads((tmp_path / "r.json").read_text())
    assert {"format", "hyworld", "environment", "weights", "preset", "dtype", "runs", "baseline", "prices"} < set(
        result
    )
    (run,) = result["runs"]
    assert run["options"]["decoder"] == "tiny"
    assert run["settled"]["chunks"] == 2
    assert tuple(run["settled"]["stages_ms"]) == STAGES
    assert [chunk["index"] for chunk in run["chunks"]] == list(range(8))
    assert run["first_frames"]["warm_s"] > 0
    assert run["flatness"] is None
    again = hyworld("bench", "--json", "r.json")
    assert again.returncode == 2
    assert "--overwrite" in again.stderr


def test_a_suite_keeps_what_it_has(hyworld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    setups = [Setup((64, 64), 7), Setup((64, 64), 8), Setup((64, 64), 9)]
    measure = bench.measure

    def second_is_missing_third_is_stopped(source, setup, say, **rest):
        if setup.chunks == 8:
            raise InputError("no such mode here.")
        if setup.chunks == 9:
            raise KeyboardInterrupt
        return measure(source, setup, say, **rest)

    monkeypatch.setattr(bench, "suite_of", lambda preset, chunks: setups)
    monkeypatch.setattr(bench, "measure", second_is_missing_third_is_stopped)
    done = hyworld("bench", "--suite", "--json", "r.json")
    assert done.returncode == 1
    assert "no such mode here" in done.stderr
    assert done.stderr.splitlines()[-1] == "error: interrupted"
    result = json.loads((tmp_path / "r.json").read_text())
    assert [run["name"] for run in result["runs"]] == ["64x64 exact"]
    assert result["runs"][0]["first_in_process"]
    assert list(result["skipped"].values()) == ["no such mode here."]


def test_files_are_measured_as_they_are(hyworld, tmp_path: Path):
    files = ("--weights", REFERENCE / "dit_weights.safetensors", "--vae", REFERENCE / "vae_weights_native.safetensors")
    done = hyworld("bench", *files, "--size", "64x64", "--chunks", 7, "--json", "r.json")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["weights"].endswith("dit_weights.safetensors")
    assert result["runs"][0]["settled"]["fps"] > 0


def test_a_missing_vae_ends_it_before_anything_is_measured(hyworld, tmp_path: Path):
    done = hyworld("bench", "--weights", "none.safetensors", "--json", "r.json")
    assert done.returncode == 2
    assert "--vae" in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--chunks", 6), "--chunks"),
        (("--size", "65x64"), "multiple of 32"),
        (("--size", "big"), "704x1280"),
        (("--suite", "--size", "64x64"), "--suite"),
        (("--suite", "--linears", "fp8"), "--suite"),
        (("--baseline", "slow"), "naive"),
        (("--preset", "tiny", "--weights", "x.safetensors"), "--preset"),
        (("--vae", "x.safetensors"), "--weights"),
        (("--tiny-decoder", "x.pth"), "--decoder tiny"),
        (("--json", "r.txt"), ".json"),
        (("--json", "nowhere/r.json"), "nowhere"),
        (("--decode-at-once", 5), "--decode-at-once"),
    ],
)
def test_wrong_options_are_said_in_one_sentence(hyworld, options: tuple, said: str):
    done = hyworld("bench", *options)
    assert done.returncode == 2
    assert said in done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert done.stdout == ""
