"""`hyworld bench` on the tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from hyworld.bench.measure import stages_of
from hyworld.verify import REFERENCE
from hyworld.walk import WORLDPLAY


def test_a_run_prints_tables_and_writes_json(hyworld, tmp_path: Path):
    done = hyworld("bench", "--size", "64x64", "--chunks", 8, "--decoder", "tiny", "--json", "r.json")
    assert done.returncode == 0, done.stderr
    assert "prefill" in done.stdout
    assert "frames/s" in done.stdout
    assert "measuring, chunk 8 of 8" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["r.json"]
    result = json.loads((tmp_path / "r.json").read_text())
    assert list(result) == ["format", "hyworld", "environment", "weights", "preset", "recipe", "dtype", "runs"]
    assert result["environment"]["torch"] == torch.__version__
    (run,) = result["runs"]
    assert run["options"]["decoder"] == "tiny"
    assert run["settled"]["chunks"] == 2
    assert tuple(run["settled"]["stages_ms"]) == stages_of(WORLDPLAY)
    assert [chunk["index"] for chunk in run["chunks"]] == list(range(8))
    assert run["first_frames"]["warm_s"] > 0
    assert run["flatness"] is None
    again = hyworld("bench", "--json", "r.json")
    assert again.returncode == 2
    assert "--overwrite" in again.stderr


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
