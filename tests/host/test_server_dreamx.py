"""The template `dreamx_5b` and a Live Walk on a real server: a small random model, VAE and CLIP of Tiny World."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.torch import save_file

from hyworld.camera import Trajectory
from hyworld.camera.tokens import DREAMX_SPEEDS
from hyworld.config import TINY, DiTConfig, frames_in
from hyworld.dit import WanDiT
from hyworld.weights.random import randomise

from .client import Client, Prompt
from .conftest import street_picture
from .live_walker import walker_of
from .results import text, video
from .server import REPOSITORY, ComfyServer
from .test_server_live import LIVE, again, live, newest
from .walks import changed, node

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
def model(server: ComfyServer) -> str:
    """The name of the model's file, in its folder."""
    folder = server.models / "diffusion_models"
    folder.mkdir(exist_ok=True)
    state = randomise(WanDiT(CONFIG), 0).state_dict()
    save_file(state, folder / MODEL, {"config": json.dumps({"hd": CONFIG.head_dim})})
    return MODEL


@pytest.fixture
def prompt(server: ComfyServer, model: str) -> Prompt:
    """The template, with stand-ins for its large files."""
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


def test_a_live_walk_goes_back_another_way_hears_words_and_is_walked_again(
    server: ComfyServer, client: Client, model: str
) -> None:
    prompt = changed(again(live(clip=["world", 1]), positive=["schedule", 0]), "model", model_name=model)
    prompt["rain"] = node("CLIPTextEncode", clip=["world", 1], text="it starts to rain")
    prompt["schedule"] = node("HYWorldPromptSchedule", first=["prompt", 0], second=["rain", 0], second_after=1)
    run = client.queue(prompt)
    walker = walker_of(client, run, server.url)
    walked = walker.walk("w", to=2)
    assert (walker.state["chunk_latents"], walker.state["speeds"]) == (3, {"move": 0.3, "turn": 6})
    walked = walker.walk("left", to=walked + 1)
    walker.say("back", chunks=1)
    walker.stands(1)
    assert walker.state["furthest"] == walked
    walker.say("words", text="it starts to rain")
    walker.until(lambda message: message["type"] == "state" and message["words"] == "it starts to rain")
    walked = walker.walk("right", "w", to=3)
    walker.say("stop")
    client.follow(run)
    assert run.status == "success", run.error

    world = newest(server, "walked")
    assert world.chunks == walked
    path = Trajectory.from_tokens("w-2, wl-6", DREAMX_SPEEDS)
    np.testing.assert_allclose(world.path.c2w[:9], path.c2w, atol=1e-9)
    assert [step.words.prompt for step in world.history if step.words][:3] == [
        "a quiet street",
        *2 * ["it starts to rain"],
    ]
    assert newest(server, "again") == world, "the recorded path leads elsewhere"
    film, rate = video(client, run, "film")
    assert (film.shape, rate) == ((12 * walked - 3, 64, 96, 3), 16)
    assert run.outputs[LIVE]["text"][1:] == ["from chunk 1: a quiet street", "from chunk 2: it starts to rain"]
