"""DreamX-World against the reference tensors of its own program."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hyworld.verify import REFERENCE, verify
from hyworld.verify.report import Item

FOLDER = REFERENCE / "dreamx"


def outcomes(folder: Path) -> dict[str, Item]:
    return {item.name: item for item in verify(folder, device=torch.device("cpu"), dtype=torch.float32)}


def test_it_computes_what_the_original_does():
    items = outcomes(FOLDER)
    assert {name.split(".")[0] for name, item in items.items() if not item.skipped} >= {
        *("schedule", "trajectories", "dit", "dit_without_camera", "rollout")
    }
    assert sum(name.endswith(".flow") for name in items) == 36
    assert [item for item in items.values() if item.relative > 1e-5] == []


def test_so_it_does_at_other_sizes():
    """Odd heads, a window that no whole chunks fill, opposite keys, more words than pictures; made by the original."""
    items = outcomes(Path(__file__).parent / "data" / "dreamx").values()
    assert [item.name for item in items if item.skipped] == ["schedule"]
    assert len(items) == 83
    assert [item for item in items if item.relative > 1e-5 and not item.skipped] == []


@pytest.mark.parametrize(
    ("setting", "value", "wrong"),
    [
        ("window", 9, "rollout.cached_latents"),
        ("window", 9, "rollout.latents"),
        ("sink", 0, "rollout.latents"),
        ("hd", 16, "dit.chunk0.step0.flow"),
    ],
)
def test_other_settings_fail(tmp_path: Path, setting: str, value: int, wrong: str):
    for name in ("rollout", "dit_forward"):
        shutil.copy(FOLDER / f"{name}.safetensors", tmp_path)
    with safe_open(FOLDER / "dit_weights.safetensors", "pt") as file:
        config = json.loads(file.metadata()["config"])
    config[setting] = value
    weights = load_file(FOLDER / "dit_weights.safetensors")
    save_file(weights, tmp_path / "dit_weights.safetensors", {"config": json.dumps(config)})
    assert not outcomes(tmp_path)[wrong].passed


def test_a_colour_video_shorter_than_a_chunk_is_compared(tmp_path: Path):
    shutil.copy(FOLDER / "dit_weights.safetensors", tmp_path)
    videos = load_file(FOLDER / "colour_correction.safetensors")
    short = {name: video[:, :7].clone() for name, video in videos.items()}
    save_file(short, tmp_path / "colour_correction.safetensors")
    assert outcomes(tmp_path)["colour_correction.corrected_1.0"].passed
