"""Reference folders other than the shipped one: other rows, other rules, files that are missing or empty."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hyworld.verify import REFERENCE, verify
from hyworld.verify.decoders import _weights_by_rule
from hyworld.verify.report import Item


def outcomes(folder: Path) -> dict[str, Item]:
    """The items that were not skipped for want of a whole group of files."""
    items = verify(folder, device=torch.device("cpu"), dtype=torch.float32)
    return {item.name: item for item in items if not item.note.startswith("no ") or "rollout_no_image" in item.name}


def test_memory_rows_of_every_length_are_compared(tmp_path: Path):
    listing = json.loads((REFERENCE / "memory_selection.json").read_text())[:1]
    listing[0]["selected"] = [[0, None], [4, [*range(4)]], [8, [*range(8)]], *listing[0]["selected"]]
    shutil.copy(REFERENCE / "memory_selection.safetensors", tmp_path)
    (tmp_path / "memory_selection.json").write_text(json.dumps(listing))
    assert outcomes(tmp_path)["memory_selection.0"].passed
    listing[0]["selected"][2][1][3] += 1
    (tmp_path / "memory_selection.json").write_text(json.dumps(listing))
    assert not outcomes(tmp_path)["memory_selection.0"].passed


def test_a_missing_half_of_a_group_is_skipped_and_an_empty_file_too(tmp_path: Path):
    for name in ("dit_weights", "rollout"):
        shutil.copy(REFERENCE / f"{name}.safetensors", tmp_path)
    (tmp_path / "trajectories.json").write_text("[]")
    items = outcomes(tmp_path)
    assert items["rollout.latents"].passed
    assert items["rollout_no_image"].skipped
    assert items["trajectory"].skipped


def test_an_error_of_several_lines_is_told_in_one(tmp_path: Path):
    shutil.copy(REFERENCE / "dit_weights.safetensors", tmp_path)
    envelope = torch.load(REFERENCE / "model.pt", weights_only=True)
    envelope["generator"].popitem()
    torch.save(envelope, tmp_path / "model.pt")
    items = outcomes(tmp_path)
    assert not items["model_pt.weights"].passed
    assert not items["model_pt"].passed
    assert "Missing key" in items["model_pt"].note
    assert "\n" not in items["model_pt"].note


@pytest.mark.parametrize(("gain", "constant"), [("1.2", "0.05"), ("2", "0"), ("9e-1", "1e-05")])
def test_the_rule_that_draws_weights_is_read_however_its_numbers_are_written(gain: str, constant: str):
    rule = (
        f"for i,key in enumerate(sorted(keys)): randn(shape, generator=manual_seed(7+i)) * "
        f"({gain}/sqrt(prod(shape[1:])) if ndim>1 else {constant})"
    )
    state = _weights_by_rule([("b", [3]), ("a", [2, 4])], rule)
    want = torch.randn(2, 4, generator=torch.Generator().manual_seed(7)) * (float(gain) / 2)
    torch.testing.assert_close(state["a"], want)
    want = torch.randn(3, generator=torch.Generator().manual_seed(8)) * float(constant)
    torch.testing.assert_close(state["b"], want)


def test_an_unknown_rule_is_named():
    with pytest.raises(ValueError, match="not of the known form: all ones"):
        _weights_by_rule([], "all ones")


def test_a_tiny_decoder_may_have_any_number_of_latent_channels(tmp_path: Path):
    """16 channels are those of a published decoder for another model; here the file says what it is."""
    with safe_open(REFERENCE / "tiny_decoder.safetensors", "pt") as file:
        metadata = file.metadata()
    shapes = json.loads(metadata["state_dict"])
    for entry in shapes:
        if entry[0] == "decoder.1.weight":
            entry[1][1] = 16
    data = {name: tensor.clone() for name, tensor in load_file(REFERENCE / "tiny_decoder.safetensors").items()}
    data["latents"] = data["latents"][:, :, :16].contiguous()
    save_file(data, tmp_path / "tiny_decoder.safetensors", metadata | {"state_dict": json.dumps(shapes)})
    items = outcomes(tmp_path)
    # Other weights give other frames; that they were decoded and counted is the point.
    assert items["tiny_decoder.frames_per_latent"].passed
    assert items["tiny_decoder.whole"].note == ""
