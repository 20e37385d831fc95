"""Convert HY-WorldPlay Model on a real server: from model.pt to a walk, and names refused before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hyworld.config import DiTConfig
from hyworld.dit import WanDiT
from hyworld.weights import dit_to_diffusers
from hyworld.weights.random import randomise

from .browser import drive
from .client import Client, Prompt, RejectedError
from .results import text
from .server import ComfyServer
from .walks import node as step

pytestmark = pytest.mark.host


@pytest.fixture
def models(server: ComfyServer) -> Iterator[Path]:
    """models/diffusion_models with a released model.pt in it, of one layer."""
    folder = server.input.parent / "models" / "diffusion_models"
    folder.mkdir(exist_ok=True)
    sizes = DiTConfig(num_heads=12, head_dim=128, num_layers=1, ffn_dim=96, text_dim=24, freq_dim=32)
    weights = dit_to_diffusers(dict(randomise(WanDiT(sizes), 3).state_dict()))
    torch.save({"generator": {f"model.{name}": tensor for name, tensor in weights.items()}}, folder / "model.pt")
    yield folder
    for file in folder.iterdir():
        file.unlink()


def conversion(file_name: str = "new.safetensors", **inputs: object) -> Prompt:
    chosen = {"source": "model.pt", "file_name": file_name, "dtype": "bf16", "overwrite": False, **inputs}
    return {"convert": step("HYWorldConvertModel", **chosen), "said": step("PreviewAny", source=["convert", 0])}


def choices(client: Client, node_id: str, name: str) -> list[str]:
    """What a combo of the node offers; old hosts list it in another place."""
    kind, options = client.object_info()[node_id]["input"]["required"][name]
    return kind if isinstance(kind, list) else options["options"]


def test_model_pt_becomes_a_file_that_the_loader_offers(client: Client, models: Path) -> None:
    assert "model.pt" in choices(client, "HYWorldConvertModel", "source")
    assert "model.pt" in choices(client, "HYWorldLoadModel", "model_name")
    run = client.run(conversion())
    assert run.status == "success", run.error
    size = (models / "new.safetensors").stat().st_size
    assert text(run, "said").startswith(f"Wrote new.safetensors: 48 tensors, {size / 1e9:.2f} GB, bf16, in ")
    assert text(run, "said").endswith("Press R in the graph, then choose it in Load HY-WorldPlay Model.")
    assert run.outputs["convert"]["text"] == [text(run, "said")]
    assert max(data["value"] for data in run.of_kind("progress") if data["node"] == "convert") == 1000
    assert "new.safetensors" in choices(client, "HYWorldLoadModel", "model_name")
    assert sorted(file.name for file in models.iterdir()) == ["model.pt", "new.safetensors"]


@pytest.mark.parametrize(
    ("file_name", "told"),
    [
        ("../new.safetensors", 'The file name "../new.safetensors" cannot be used: give one without a folder'),
        ("new.pt", "that ends in .safetensors."),
        ("taken.safetensors", "There is a file taken.safetensors already: choose another file_name"),
    ],
)
def test_names_are_refused_before_anything_runs(client: Client, models: Path, file_name: str, told: str) -> None:
    (models / "taken.safetensors").write_bytes(b"precious")
    with pytest.raises(RejectedError) as error:
        client.queue(conversion(file_name))
    (reason,) = error.value.reasons("convert")
    assert told in reason
    assert (models / "taken.safetensors").read_bytes() == b"precious"


def test_a_source_that_is_not_offered_is_refused(client: Client, models: Path) -> None:
    with pytest.raises(RejectedError) as error:
        client.queue(conversion(source="../../input/street.png"))
    assert any("street.png" in reason for reason in error.value.reasons("convert"))


@pytest.mark.browser
def test_the_node_shows_what_was_written_after_the_run(
    node: str, chromium: str, server: ComfyServer, models: Path, tmp_path: Path
) -> None:
    scene = {
        "url": server.url,
        "chromium": chromium,
        "profile": str(tmp_path / "profile"),
        "node": "HYWorldConvertModel",
        "screenshot": str(tmp_path / "notes.png"),
        "width": 1100,
        "height": 700,
    }
    seen = drive(node, "notes.cjs", scene)
    assert seen["ended"] == "execution_success"
    assert seen["text"].startswith("Wrote worldplay_5b.safetensors: 48 tensors")
    assert seen["fits"]
    assert seen["before"] == seen["inputs"] == ["source", "file_name", "dtype", "overwrite"]
    assert seen["saved"] == ["model.pt", "worldplay_5b.safetensors", "bf16", False]
