"""Streaming networks equal their reference tensors: those of a folder that the environment names."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hyworld.verify.streams import check_stream

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def references() -> Path:
    folder = os.environ.get("HYWORLD_REFERENCES")
    if not folder:
        pytest.skip("HYWORLD_REFERENCES names no folder of reference tensors")
    return Path(folder)


def settings(file: Path) -> dict:
    with safe_open(file, "pt") as opened:
        return json.loads(opened.metadata()["config"])


@torch.no_grad()
def test_every_flow_and_cache_equals_the_reference(references: Path):
    files = sorted(references.glob("stream_*.safetensors"))
    assert files
    for file in files:
        weights = references / f"weights_{settings(file)['weights']}.safetensors"
        items = list(check_stream(weights, file, CPU, torch.float32, 1e-5))
        assert [item for item in items if not item.passed] == []
        expected = {name for name in load_file(file) if "flow" in name or "cache" in name}
        assert {item.name for item in items} == {f"{file.stem}.{name}" for name in expected}


@torch.no_grad()
@pytest.mark.parametrize("setting", ["window_size_t", "sink_size_t"])
def test_other_settings_fail(references: Path, tmp_path: Path, setting: str):
    file = references / "stream_sink.safetensors"
    config = settings(file)
    config["stream"][setting] += config["stream"]["len_t"]
    save_file(load_file(file), tmp_path / "stream_x.safetensors", {"config": json.dumps(config)})
    weights = references / f"weights_{config['weights']}.safetensors"
    assert not all(
        item.passed for item in check_stream(weights, tmp_path / "stream_x.safetensors", CPU, torch.float32, 1e-4)
    )
