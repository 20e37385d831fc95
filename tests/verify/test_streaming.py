"""Streaming Wan models against the folder of reference tensors that HYWORLD_REFERENCES names."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hyworld.verify import verify
from hyworld.verify.report import Item
from hyworld.verify.rollouts import config_of

FOLDER = os.environ.get("HYWORLD_REFERENCES", "")
needs_references = pytest.mark.skipif(not FOLDER, reason="HYWORLD_REFERENCES names no folder of reference tensors")
CPU = torch.device("cpu")


@needs_references
def test_everything_in_the_folder_is_compared_and_equal():
    items = list(verify(Path(FOLDER), device=CPU, dtype=torch.float32))
    compared = {item.name.split(".")[0] for item in items if not item.skipped}
    names = [file.stem for kind in ("stream", "rollout", "schedulers") for file in Path(FOLDER).glob(f"{kind}*")]
    assert names
    assert not set(names) - compared
    assert [(item.name, item.relative, item.note) for item in items if not item.skipped and item.relative > 1e-5] == []


def copied(tmp_path: Path, *names: str) -> Path:
    for name in names:
        shutil.copyfile(Path(FOLDER) / f"{name}.safetensors", tmp_path / f"{name}.safetensors")
    return tmp_path


def outcomes(folder: Path) -> dict[str, Item]:
    return {item.name: item for item in verify(folder, device=CPU, dtype=torch.float32)}


@needs_references
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("rollout_causal_forcing_chunkwise", lambda config: config["stream"].update(window_size_t=3)),
        ("rollout_self_forcing_rerope", lambda config: config["network"].update(apply_rope_before_kvcache=True)),
        ("rollout_self_forcing_context_noise", lambda config: config.update(context_noise=500)),
        ("rollout_ti2v_5b_stream", lambda c: c["stream"].update(ti2v_first_frame_per_token_timestep=False)),
        ("rollout_ti2v_5b_stream", lambda config: config["stream"].update(guidance_scale=1.0)),
        ("rollout_wan22_dual", lambda config: config.update(boundary=500.0)),
    ],
)
def test_a_walk_by_another_recipe_fails(tmp_path: Path, name: str, change):
    config = config_of(Path(FOLDER) / f"{name}.safetensors")
    folder = copied(tmp_path, name, *(f"weights_{weights}" for weights in config["weights"]))
    assert outcomes(folder)[f"{name}.latents"].relative < 1e-5
    change(config)
    data = load_file(folder / f"{name}.safetensors")
    save_file(data, folder / f"{name}.safetensors", {"config": json.dumps(config)})
    assert not outcomes(folder)[f"{name}.latents"].passed


@needs_references
def test_a_file_without_its_weights_is_skipped_by_name(tmp_path: Path):
    items = outcomes(copied(tmp_path, "rollout_wan22_dual", "weights_high"))
    assert items["rollout_wan22_dual"].skipped
    assert items["rollout_wan22_dual"].note == "no weights_low.safetensors"


def test_files_of_these_names_that_say_nothing_are_left_alone(tmp_path: Path):
    for name in ("stream_a", "rollout_b", "schedulers"):
        save_file({"x": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    assert all(item.skipped for item in outcomes(tmp_path).values())
