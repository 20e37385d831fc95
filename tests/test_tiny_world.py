"""The built-in world: what its pictures show, and what each way of running it does to them.

Bars are in dB of PSNR over the frames, some below what was measured when they were set.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import Tensor

import hyworld
from hyworld import Chunk, Pipeline, Trajectory, builtin
from hyworld.config import TINY, TINY_RANDOM
from hyworld.errors import InputError
from hyworld.fp8 import use_fp8
from hyworld.modes import Modes
from hyworld.vae.fp8_convolution import use_fp8_convolutions
from training.tiny_world.evaluate import Truth, masked_psnr
from training.tiny_world.scenes import draw_scenes
from training.tiny_world.sizes import HELD_OUT_SEED

needs_weights = pytest.mark.skipif(
    builtin.preset("tiny") is not TINY, reason="the trained weights are not in hyworld/tiny_world"
)

PATH = Trajectory.from_tokens("right-6, left-5")
"""Three chunks: the view turns 18 degrees away and comes back to 3."""

OUT, AWAY, BACK = 4, 24, 44
"""Frames that look 3 degrees, 18 degrees and again 3 degrees to the right: the last ones of their latents."""


def load(**options: object) -> Pipeline:
    return hyworld.load(device="cpu", **{"dtype": "float32", **options})  # type: ignore[arg-type]


def walk(pipeline: Pipeline, path: Trajectory = PATH, prompt: str = "") -> Tensor:
    """Frames uint8 `[F, H, W, 3]` of a new walk."""
    return torch.cat([chunk.frames for chunk in pipeline.walk(pipeline.start(text=prompt), path)])


def psnr(frames: Tensor, want: Tensor) -> float:
    error = (frames.float() - want.float()).square().mean()
    return float(10 * torch.log10(255**2 / error.clamp(min=1e-10)))


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load()


@pytest.fixture(scope="module")
def chunks(pipeline: Pipeline) -> list[Chunk]:
    """The walk that the others are compared with."""
    return list(pipeline.walk(pipeline.start(), PATH))


@pytest.fixture(scope="module")
def frames(chunks: list[Chunk]) -> Tensor:
    return torch.cat([chunk.frames for chunk in chunks])


def test_the_trained_weights_are_here():
    assert builtin.preset("tiny") is TINY


@needs_weights
def test_what_the_first_frame_showed_is_where_it_belongs(frames: Tensor):
    some = slice(None, None, 3)
    truth = Truth(draw_scenes([HELD_OUT_SEED + builtin.SCENE]), PATH)
    rendered, seen = truth.frames(some), truth.seen_at_first(some)
    video = (frames[some].float() / 127.5 - 1).permute(3, 0, 1, 2)[None]
    followed = masked_psnr(video, rendered, seen).item()
    stayed = masked_psnr(video[:, :, :1].expand_as(video), rendered, seen).item()
    assert followed > 22
    assert followed > stayed + 4


@needs_weights
def test_what_was_turned_away_from_comes_back(frames: Tensor):
    there, away = psnr(frames[BACK], frames[OUT]), psnr(frames[AWAY], frames[OUT])
    assert there > 22
    assert there > away + 4


@needs_weights
def test_walking_on_is_walking_in_one_go(chunks: list[Chunk]):
    (last,) = load().walk(chunks[1].world, PATH[7:])
    assert psnr(last.frames, chunks[2].frames) > 60


@needs_weights
def test_no_prompt_changes_anything(pipeline: Pipeline, frames: Tensor):
    assert torch.equal(walk(pipeline, PATH[:4], "a red hall full of mirrors"), frames[:13])


@needs_weights
@pytest.mark.parametrize(
    ("options", "bar"), [({"modes": Modes(kv="compact")}, 60), ({"dtype": "bfloat16"}, 40)], ids=["compact", "bfloat16"]
)
def test_a_mode_that_rounds_shows_the_same(frames: Tensor, options: dict[str, object], bar: float):
    assert psnr(walk(load(**options)), frames) > bar


@needs_weights
@pytest.mark.parametrize("units", [0, 100])
def test_bfloat16_shows_the_same_however_far_from_the_origin(frames: Tensor, units: int):
    """The network alone in bfloat16; 52 dB at both. With absolute cameras: 51 and 22."""
    pipeline = load(dtype="bfloat16")
    pipeline.vae.float()
    pipeline.walker.decoding.dtype = torch.float32
    there = PATH.c2w.copy()
    there[:, :3, 3] += units
    assert psnr(walk(pipeline, replace(PATH, c2w=there)), frames) > 45


@needs_weights
def test_fp8_linears_show_nearly_the_same(frames: Tensor):
    pipeline = load()
    use_fp8(pipeline.walker.network)  # by the plain functions: `Modes` offers it only where it is fast
    quality = psnr(walk(pipeline, PATH[:8]), frames[:29])
    assert 35 < quality < 60  # above, nothing was rounded


@needs_weights
def test_fp8_convolutions_show_nearly_the_same(frames: Tensor):
    pipeline = load()
    use_fp8_convolutions(pipeline.vae)
    quality = psnr(walk(pipeline, PATH[:8]), frames[:29])
    assert 50 < quality < 70  # above, nothing was rounded


@needs_weights
def test_the_card_is_that_of_the_files():
    card = (builtin.FOLDER / "card.md").read_text()
    for file in (builtin.NETWORK, builtin.VAE, builtin.DECODER):
        assert f"| `{file.name}` | `{hashlib.sha256(file.read_bytes()).hexdigest()}` |" in card
    assert builtin.DECODER.stat().st_size < 4e6
    assert sum(file.stat().st_size for file in builtin.FOLDER.rglob("*") if file.is_file()) < 28e6


@needs_weights
def test_the_tiny_decoder_shows_nearly_the_same(frames: Tensor):
    ours = walk(load(decoder="tiny"))
    assert 34 < psnr(ours, frames) < 60  # above, it was the full one
    last = slice(-16, None)
    assert psnr(ours[last], frames[last]) > 34


@needs_weights
def test_the_tiny_decoder_is_nearly_as_close_to_the_truth(pipeline: Pipeline):
    """Rendered frames, encoded and decoded by both."""
    truth = Truth(draw_scenes([HELD_OUT_SEED + scene for scene in (2, 5)]), PATH[:3]).frames()
    want = (truth * 127.5 + 127.5).round()
    with torch.inference_mode():
        latents = pipeline.vae.encode_stream(truth)[0]
        full, tiny = (
            psnr(coder.decode_stream(latents)[0] * 127.5 + 127.5, want)
            for coder in (pipeline.vae, builtin.decoder(TINY))
        )
    assert tiny > 28
    assert tiny > full - 2


@needs_weights
def test_live_walking_takes_the_tiny_decoder_where_there_is_one(monkeypatch: pytest.MonkeyPatch):
    assert builtin.live_decoder(TINY) == "tiny"
    assert builtin.live_decoder(TINY_RANDOM) == "full"
    monkeypatch.setattr(builtin, "DECODER", builtin.FOLDER / "gone.safetensors")
    assert builtin.live_decoder(TINY) == "full"
    with pytest.raises(InputError, match=r"tiny decoder of the built-in world is missing .*: choose the full one"):
        load(decoder="tiny")


@needs_weights
def test_the_random_network_takes_the_trained_vae_and_prompt():
    network = builtin.dit(TINY_RANDOM)
    assert builtin.vae(TINY).latent_channels == network.patch_embedding.in_channels
    assert network.text_keys_values(builtin.text_encoder()(""))


def test_every_scene_has_a_picture_of_the_worlds_size():
    for scene in range(builtin.FIRST_FRAMES):
        picture = builtin.first_frame(scene)
        assert (picture.height, picture.width) == TINY.size
    with pytest.raises(InputError, match=re.escape("0 to 7, got 8")):
        builtin.first_frame(builtin.FIRST_FRAMES)


def test_without_the_trained_weights_noise_takes_their_place_and_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(builtin, "NETWORK", builtin.FOLDER / "gone.safetensors")
    with pytest.warns(UserWarning, match="trained weights of the built-in world are missing"):
        pipeline = load()
    assert pipeline.walker.network.config == TINY_RANDOM.dit
    assert pipeline.picture is None


def test_presets_are_known_by_name_and_belong_to_no_file():
    with pytest.raises(InputError, match="The built-in models are tiny and tiny-random, got 'huge'"):
        load(preset="huge")
    with pytest.raises(InputError, match="leave out --weights, or --preset"):
        hyworld.load("model.safetensors", preset="tiny")


@needs_weights
@pytest.mark.parametrize("scene", [2, 4, 7])
def test_rough_colours_of_its_latents(pipeline: Pipeline, scene: int) -> None:
    """The scenes that they were not fitted on."""
    picture = builtin.first_frame(scene)
    (latent,) = pipeline.encode_picture(picture, 160, 288)[:, :, 0]
    rough = latent.movedim(0, -1) @ torch.tensor(builtin.LATENT_RGB) + torch.tensor(builtin.LATENT_RGB_BIAS)
    small = torch.frombuffer(bytearray(picture.resize((18, 10), Image.Resampling.BOX).tobytes()), dtype=torch.uint8)
    assert psnr((rough / 2 + 0.5).clamp(0, 1) * 255, small.view(10, 18, 3)) > 20
