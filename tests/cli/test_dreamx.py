"""`hyworld generate` and `hyworld play` with a small random model of DreamX-World's kind, in real files."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from hyworld import Trajectory, World
from hyworld.camera.tokens import DREAMX_SPEEDS
from hyworld.config import DiTConfig, VAEConfig, Wan21VAEConfig
from hyworld.dit import WanDiT
from hyworld.vae import make_vae
from hyworld.weights.random import randomise

from .test_play import started, walk

SMALL: dict[str, Any] = {"num_heads": 2, "head_dim": 24, "num_layers": 1, "ffn_dim": 64, "text_dim": 32, "freq_dim": 32}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    network = randomise(WanDiT(DiTConfig(**SMALL, latent_channels=48, camera_width=24)), 0)
    for name in ("dreamx", "DreamX-World-5B-Cam"):
        save_file(network.state_dict(), folder / f"{name}.safetensors", {"config": '{"hd": 24}'})
    small = {"encoder_dim": 8, "decoder_dim": 8, "num_res_blocks": 1}
    for name, sizes in (("vae21", Wan21VAEConfig(**small)), ("vae22", VAEConfig(**small))):
        save_file(randomise(make_vae(sizes), 1).state_dict(), folder / f"{name}.safetensors")
    save_file({"text": torch.randn(1, 6, 32)}, folder / "words.safetensors")
    return folder


def of(files: Path, network: str = "dreamx", vae: str = "vae22") -> list[object]:
    given = {"--weights": network, "--vae": vae, "--text-encoder": "words"}
    return [word for option, name in given.items() for word in (option, files / f"{name}.safetensors")]


def test_a_walk_at_its_own_pace_and_on_from_the_saved_world(hyworld, files: Path, tmp_path: Path):
    Image.effect_noise((96, 64), 80).convert("RGB").save("first.png")
    begun = [*of(files), "--size", "32x64", "--image", "first.png"]
    whole = hyworld("generate", *begun, "--pose", "w-5, w+left-3", "--save-world", "whole.world")
    assert whole.returncode == 0, whole.stderr
    assert "33 frames (2.1 s at 16 fps), 32x64, 3 chunks" in whole.stdout
    world = World.load("whole.world")
    path = Trajectory.from_tokens("w-5, w+left-3", DREAMX_SPEEDS)
    assert np.allclose(world.path.c2w, path.c2w, atol=1e-9)
    assert "w-5, left+w-3" in str(world) or "w-5, w+left-3" in str(world)
    assert all(step.colours is not None for step in world.history)

    hyworld("generate", *begun, "--pose", "w-5", "--save-world", "two.world")
    ended = hyworld("generate", *of(files), "--world", "two.world", "--pose", "w+left-3", "--save-world", "ended.world")
    assert "12 frames" in ended.stdout, ended.stderr
    assert torch.allclose(World.load("ended.world").latents, world.latents, atol=1e-4)


def test_its_settings(hyworld, files: Path, tmp_path: Path):
    made = hyworld(
        *("generate", *of(files), "--size", "32x64", "--pose", "w-2", "--move-speed", 0.6, "--colour-match", 0),
        *("--recipe", "dreamx_5b_bf16", "--save-world", "fast.world"),
    )
    assert made.returncode == 0, made.stderr
    world = World.load("fast.world")
    assert world.path.c2w[:, 2, 3] == pytest.approx([0, 0.15, 0.75])
    assert world.history[0].colours is None


@pytest.mark.parametrize(
    ("network", "vae", "options", "said"),
    [
        ("dreamx", "vae21", [], "give the Wan 2.2 VAE"),
        ("DreamX-World-5B-Cam", "vae22", [], "the bidirectional model"),
        ("dreamx", "vae22", ["--recipe", "worldplay"], "choose dreamx_5b, dreamx_5b_bf16"),
        ("dreamx", "vae22", ["--pose", "w-1"], "but one chunk takes 3"),
        ("dreamx", "vae22", ["--pose", "wjl-5"], 'has the opposite keys "left" and "right"'),
        ("dreamx", "vae22", ["--steps", "3"], "is distilled to 4 steps"),
    ],
)
def test_what_does_not_belong_together_is_one_sentence(
    hyworld, files: Path, tmp_path: Path, network: str, vae: str, options: list[str], said: str
):
    refused = hyworld("generate", *of(files, network, vae), "--size", "32x64", *options)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert said in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to send")
def test_a_live_walk_through_the_page(files: Path, tmp_path: Path):
    with started(tmp_path, "--size", "32x64", "--prompt", "a street", model=of(files)) as (process, address):
        walk(address, 3, "w")
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    world = World.load(tmp_path / "live.world")
    ahead = world.path.c2w[:, 2, 3]
    assert ahead[:3] == pytest.approx([0, 0.075, 0.375])
    assert len(ahead) == 3 * world.chunks >= 9


def test_it_is_listed(hyworld):
    listed = hyworld("recipes").stdout
    assert "dreamx_5b_bf16" in listed
