"""`hyworld generate` and `hyworld play` with Wan models that follow no camera: small random ones, in real files."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from hyworld import World
from hyworld.config import DiTConfig, VAEConfig, Wan21VAEConfig
from hyworld.dit import WanDiT
from hyworld.vae import make_vae
from hyworld.weights.random import randomise

from .test_play import started, walk

SMALL: dict[str, Any] = {"num_heads": 2, "head_dim": 24, "num_layers": 1, "ffn_dim": 64, "text_dim": 32, "freq_dim": 32}
TEXT_TOKENS = 6


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with networks, their VAEs and embeddings of a prompt."""
    folder = tmp_path_factory.mktemp("models")
    networks = {
        "self_forcing_dmd": DiTConfig(**SMALL, latent_channels=16, cameras=False),
        "model": DiTConfig(**SMALL, latent_channels=16, cameras=False),
        "wan2.2_ti2v": DiTConfig(**SMALL, latent_channels=48, cameras=False),
    }
    for name, config in networks.items():
        network = randomise(WanDiT(config), 0)
        save_file(network.state_dict(), folder / f"{name}.safetensors", {"config": '{"hd": 24}'})
    small = {"encoder_dim": 8, "decoder_dim": 8, "num_res_blocks": 1}
    for name, sizes in (("vae21", Wan21VAEConfig(**small)), ("vae22", VAEConfig(**small))):
        save_file(randomise(make_vae(sizes), 1).state_dict(), folder / f"{name}.safetensors")
    save_file({"text": torch.randn(1, TEXT_TOKENS, 32)}, folder / "words.safetensors")
    return folder


def of(files: Path, network: str, vae: str) -> list[object]:
    given = {"--weights": network, "--vae": vae, "--text-encoder": "words"}
    return [word for option, name in given.items() for word in (option, files / f"{name}.safetensors")]


def test_a_stream_from_words_and_on_from_the_saved_world(hyworld, files: Path, tmp_path: Path):
    model = of(files, "self_forcing_dmd", "vae21")
    whole = hyworld("generate", *model, "--size", "32x48", "--chunks", 3, "--save-world", "whole.world")
    assert whole.returncode == 0, whole.stderr
    assert "33 frames (2.1 s at 16 fps), 32x48, 3 chunks" in whole.stdout
    assert hyworld("generate", *model, "--size", "32x48", "--chunks", 2, "--save-world", "begun.world").returncode == 0
    ended = hyworld("generate", *model, "--world", "begun.world", "--chunks", 1, "--save-world", "ended.world")
    assert "12 frames" in ended.stdout, ended.stderr
    assert torch.equal(World.load("ended.world").latents, World.load("whole.world").latents)


def test_a_base_model_from_a_picture_at_its_own_frame_rate(hyworld, files: Path, tmp_path: Path):
    Image.effect_noise((96, 64), 80).convert("RGB").save("first.png")
    made = hyworld(
        *("generate", *of(files, "wan2.2_ti2v", "vae22"), "--image", "first.png"),
        *("--size", "32x64", "--steps", 2, "--guidance", 1, "--chunks", 1),
    )
    assert made.returncode == 0, made.stderr
    assert "121 frames (5.0 s at 24 fps), 32x64, 1 chunk" in made.stdout


@pytest.mark.parametrize(
    ("network", "vae", "options", "said"),
    [
        ("model", "vae21", [], "does not say which: add --recipe"),
        ("self_forcing_dmd", "vae21", ["--pose", "w-3"], "follows no camera"),
        ("self_forcing_dmd", "vae22", [], "give the Wan 2.1 VAE"),
        ("wan2.2_ti2v", "vae21", [], "give the Wan 2.2 VAE"),
        ("self_forcing_dmd", "vae21", ["--recipe", "worldplay"], "is not for the network"),
        ("self_forcing_dmd", "vae21", ["--recipe", "dream"], "There is no recipe 'dream'"),
        ("self_forcing_dmd", "vae21", ["--steps", "3"], "is distilled to 4 steps"),
        ("self_forcing_dmd", "vae21", ["--image", "first.png"], "takes no picture"),
        ("self_forcing_dmd", "vae21", ["--size", "40x64"], "multiple of 16"),
    ],
)
def test_what_does_not_belong_together_is_one_sentence(
    hyworld, files: Path, tmp_path: Path, network: str, vae: str, options: list[str], said: str
):
    Image.new("RGB", (64, 32)).save("first.png")
    refused = hyworld("generate", *of(files, network, vae), "--chunks", 1, *options)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert said in refused.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["first.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to send")
def test_a_live_walk_goes_on_by_itself_while_somebody_is_there(files: Path, tmp_path: Path):
    model = [*of(files, "model", "vae21"), "--recipe", "causal_forcing"]
    with started(tmp_path, "--size", "32x48", "--prompt", "a street", model=model) as (process, address):
        time.sleep(0.5)
        assert list(tmp_path.iterdir()) == []
        walk(address, 2)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    world = World.load(tmp_path / "live.world")
    assert world.chunks >= 2
    assert (world.size, world.latents.shape[2]) == ((32, 48), 3 * world.chunks)


@pytest.mark.parametrize(
    ("network", "vae", "options", "said"),
    [
        ("wan2.2_ti2v", "vae22", [], "makes a clip in one go"),
        ("self_forcing_dmd", "vae21", ["--recipe", "wan21_t2v"], "makes a clip in one go"),
        ("model", "vae21", [], "does not say which: add --recipe"),
        ("self_forcing_dmd", "vae21", ["--recipe", "worldplay"], "is not for the network"),
        ("self_forcing_dmd", "vae21", ["--low-weights", "low.safetensors"], "does not say which"),
        ("self_forcing_dmd", "vae21", ["--size", "40x64"], "multiple of 16"),
        ("self_forcing_dmd", "vae22", ["--size", "32x48"], "give the Wan 2.1 VAE"),
    ],
)
def test_what_cannot_be_walked_live_is_one_sentence(
    hyworld, files: Path, network: str, vae: str, options: list[str], said: str
):
    refused = hyworld("play", "--no-browser", *of(files, network, vae), *options)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert said in refused.stderr


def test_the_recipes_are_listed(hyworld):
    listed = hyworld("recipes").stdout
    assert all(name in listed for name in ("worldplay", "self_forcing", "ti2v_5b", "wan22_i2v_14b"))
