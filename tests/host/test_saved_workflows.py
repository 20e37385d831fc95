"""Workflows saved with earlier releases: they load with the values they had, and run.

`workflows/` holds the examples of each release as they were, in the form the front end saves and in API form. Later
releases may add optional inputs at the end of a node; everything else must be as it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .browser import drive
from .client import Client, Prompt
from .installation import Installation
from .results import video
from .server import ComfyServer

pytestmark = pytest.mark.host

SAVED = sorted((Path(__file__).parent / "workflows").glob("*/*.json"))
NAMES = [f"{file.parent.name}/{file.stem}" for file in SAVED]
API = {name: file.parent / "api" / file.name for name, file in zip(NAMES, SAVED, strict=True)}

STAND_INS = {
    "diffusion_models": "worldplay_5b.safetensors",
    "vae": "wan2.2_vae.safetensors",
    "text_encoders": "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
    "loras": "your_wan2.2_5b_lora.safetensors",
    "vae_approx": "taew2_2.pth",
}
"""The files the workflows name: empty ones, enough for a choice to be in its list."""


@pytest.fixture(scope="module")
def stocked_server(comfyui: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A server whose models folder has all the files."""
    with ComfyServer(comfyui, tmp_path_factory.mktemp("stocked") / "base") as running:
        (running.input / "example.png").touch()
        for folder, name in STAND_INS.items():
            (running.models / folder).mkdir(exist_ok=True)
            (running.models / folder / name).touch()
        yield running


@pytest.fixture
def stocked_client(stocked_server: ComfyServer) -> Iterator[Client]:
    connected = Client(stocked_server.url)
    yield connected
    connected.close()


def prompt_of(name: str) -> Prompt:
    prompt: Prompt = json.loads(API[name].read_text())
    return prompt


@pytest.mark.parametrize("name", NAMES)
def test_every_input_is_still_there(name: str, stocked_client: Client) -> None:
    info = stocked_client.object_info()
    for number, entry in prompt_of(name).items():
        known = info[entry["class_type"]]["input"]
        given, required = set(entry["inputs"]), set(known["required"])
        assert required <= given <= required | set(known.get("optional", {})), f"{number}: {entry['class_type']}"


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("/quick_start")])
def test_a_workflow_that_needs_files_passes_validation(name: str, stocked_client: Client) -> None:
    """It gets as far as the first file, which is empty."""
    run = stocked_client.run(prompt_of(name))
    assert run.status == "error"
    assert run.of_kind("execution_error")[0]["node_type"] in (
        "HYWorldLoadModel",
        "VAELoader",
        "CLIPLoader",
        "LoadImage",
    )


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("/quick_start")])
def test_the_quick_start_runs_to_its_end(name: str, client: Client) -> None:
    prompt = prompt_of(name)
    run = client.run(prompt, timeout=180)
    assert run.status == "success", run.error
    (saves,) = [number for number, entry in prompt.items() if entry["class_type"] == "SaveVideo"]
    film, rate = video(client, run, saves)
    assert film.shape == (125, 160, 288, 3)
    assert rate == 16
    assert np.abs(np.diff(film.astype(float), axis=0)).mean() > 0.5


@pytest.fixture(scope="module")
def loaded(
    node: str, chromium: str, stocked_server: ComfyServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the front end makes of each workflow."""
    scene = {
        "url": stocked_server.url,
        "chromium": chromium,
        "profile": str(tmp_path_factory.mktemp("profile")),
        "workflows": {name: str(file) for name, file in zip(NAMES, SAVED, strict=True)},
    }
    return drive(node, "load_workflows.cjs", scene)


@pytest.mark.browser
@pytest.mark.parametrize("name", NAMES)
def test_every_widget_has_the_value_it_had(name: str, loaded: dict[str, Any]) -> None:
    seen = loaded[name]
    saved = json.loads(SAVED[NAMES.index(name)].read_text())["nodes"]
    assert seen["missing"] == []
    assert seen["types"] == {str(node["id"]): node["type"] for node in saved}
    prompt = prompt_of(name)
    for node in saved:
        number, before = str(node["id"]), node["widgets_values"]
        values = seen["values"][number]
        if number in prompt:
            literals = {key: value for key, value in prompt[number]["inputs"].items() if not isinstance(value, list)}
            assert {key: values[key] for key in literals} == literals, node["type"]
            assert ("fixed" in before) == (values.get("control_after_generate") == "fixed"), node["type"]
        else:
            assert before == list(values.values())[: len(before)], node["type"]


@pytest.mark.browser
@pytest.mark.parametrize("name", NAMES)
def test_the_front_end_queues_the_same_prompt(name: str, loaded: dict[str, Any], stocked_client: Client) -> None:
    info = stocked_client.object_info()
    queued, before = loaded[name]["prompt"], prompt_of(name)
    assert queued.keys() == before.keys()
    for number, entry in before.items():
        inputs = queued[number]["inputs"]
        assert queued[number]["class_type"] == entry["class_type"]
        assert {key: inputs.get(key) for key in entry["inputs"]} == entry["inputs"], entry["class_type"]
        optional = info[entry["class_type"]]["input"].get("optional", {})
        for added in inputs.keys() - entry["inputs"].keys():
            assert inputs[added] == optional[added][1]["default"], f"{entry['class_type']}.{added}"
