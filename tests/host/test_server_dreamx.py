"""The template `dreamx_5b` on a real server, with a small random model of its kind, VAE and CLIP of Tiny World."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import save_file

from hyworld.camera import Trajectory
from hyworld.camera.tokens import DREAMX_SPEEDS
from hyworld.config import TINY, DiTConfig, frames_in
from hyworld.dit import WanDiT
from hyworld.weights.random import randomise

from .client import Client, Prompt
from .conftest import street_picture
from .results import text, video
from .server import REPOSITORY, ComfyServer

pytestmark = pytest.mark.host

TEMPLATE = REPOSITORY / "example_workflows" / "api" / "dreamx_5b.json"
MODEL = "dreamx_world_5b.safetensors"
CONFIG = DiTConfig(
    num_heads=2,
    head_dim=32,
    num_layers=1,
    ffn_dim=96,
    latent_channels=TINY.dit.latent_channels,
    text_dim=TINY.dit.text_dim,
    freq_dim=32,
    camera_width=16,
)


@pytest.fixture
def prompt(server: ComfyServer) -> Prompt:
    """The template, with stand-ins for its large files."""
    folder = server.models / "diffusion_models"
    folder.mkdir(exist_ok=True)
    state = randomise(WanDiT(CONFIG), 0).state_dict()
    save_file(state, folder / MODEL, {"config": json.dumps({"hd": CONFIG.head_dim})})
    prompt: Prompt = json.loads(TEMPLATE.read_text())
    outputs = {"VAELoader": 0, "CLIPLoader": 1}
    for number, entry in list(prompt.items()):
        if entry["class_type"] in outputs:
            prompt[number] = {"class_type": "HYWorldTinyWorld", "inputs": {"scene": 0}}
            for user in prompt.values():
                for name, value in user["inputs"].items():
                    if value == [number, 0]:
                        user["inputs"][name] = [number, outputs[entry["class_type"]]]
        elif entry["class_type"] == "LoadImage":
            street_picture().save(server.input / entry["inputs"]["image"])
        elif entry["class_type"] == "HYWorldEncodeFirstFrame":
            entry["inputs"].update(width=96, height=64)
    return prompt


def inputs_of(prompt: Prompt, class_type: str) -> dict:
    return next(entry["inputs"] for entry in prompt.values() if entry["class_type"] == class_type)


def test_the_template_makes_a_video(prompt: Prompt, client: Client) -> None:
    assert inputs_of(prompt, "HYWorldLoadModel")["model_name"] == MODEL
    path = inputs_of(prompt, "HYWorldCameraTrajectory")
    latents = len(Trajectory.from_tokens(path["path"], DREAMX_SPEEDS))
    assert latents % 3 == 0
    run = client.run(prompt, timeout=180)
    assert run.status == "success", run.error
    (saves,) = [number for number, entry in prompt.items() if entry["class_type"] == "SaveVideo"]
    film, rate = video(client, run, saves)
    assert film.shape == (frames_in(latents), 64, 96, 3)
    assert rate == 16


def test_a_path_at_worldplays_pace_is_named_in_the_node(prompt: Prompt, client: Client) -> None:
    inputs_of(prompt, "HYWorldCameraTrajectory")["pace"] = "WorldPlay"
    inputs_of(prompt, "HYWorldStreamingSampler")["chunks"] = 1
    run = client.run(prompt, timeout=180)
    assert run.status == "success", run.error
    (sampler,) = [number for number, entry in prompt.items() if entry["class_type"] == "HYWorldStreamingSampler"]
    assert "0.08 units per latent, as made for WorldPlay, but DreamX-World was trained with 0.3" in text(run, sampler)
