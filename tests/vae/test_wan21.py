"""The Wan 2.1 VAE and its tiny decoders: numbers of the original programs, names and sizes of their files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from hyworld.config import WAN21_LATENTS_MEAN, TinyDecoderConfig, VAEConfig, Wan21VAEConfig, check_size
from hyworld.errors import InputError
from hyworld.vae import TinyDecoder, Wan21VAE, Wan22VAE, make_vae
from hyworld.verify import decoders
from hyworld.weights import convert, load_tiny_decoder, load_vae, open_vae, vae_config_from
from hyworld.weights.random import randomise
from hyworld.weights.remap_tiny import tiny_config_from
from hyworld.weights.remap_vae import vae_to_diffusers, vae_to_native

CPU = (torch.device("cpu"), torch.float32, 1e-5)

SIZES = [
    Wan21VAEConfig(),
    Wan21VAEConfig(encoder_dim=24, decoder_dim=24),  # LightX2V's lightvaew2_1
    Wan21VAEConfig(
        encoder_dim=3,
        decoder_dim=5,
        z_dim=2,
        dim_mult=(1, 2, 2),
        num_res_blocks=1,
        temporal_downsample=(True, False),
        latents_mean=(0.0,) * 2,
        latents_std=(1.0,) * 2,
    ),
]


def references(*names: str) -> list[Path]:
    """Files of the folder of reference tensors of the Wan family."""
    folder = os.environ.get("HYWORLD_REFERENCES")
    if folder is None:
        pytest.skip("HYWORLD_REFERENCES names no folder of reference tensors")
    files = [Path(folder, name) for name in names]
    if missing := [file.name for file in files if not file.is_file()]:
        pytest.skip(f"HYWORLD_REFERENCES has no {', '.join(missing)}")
    return files


def relative_error(ours: Tensor, reference: Tensor) -> float:
    assert ours.shape == reference.shape
    return float((ours - reference).norm() / reference.norm())


def test_the_vae_gives_the_numbers_of_the_original():
    files = references("weights_vae_wan21.safetensors", "vae_wan21.safetensors")
    items = list(decoders.check_vae_wan21(*files, *CPU))
    assert [item for item in items if not item.passed] == []
    assert {"vae_wan21.encode.first_frame", "vae_wan21.decode.by_1"} <= {item.name for item in items}


def test_the_tiny_decoder_gives_the_numbers_of_the_original():
    (file,) = references("taehv_lighttae.safetensors")
    assert [item for item in decoders.check_lighttae(file, *CPU) if not item.passed] == []


def test_the_tiny_decoder_of_released_sizes_gives_the_numbers_of_the_original():
    (file,) = references("taehv_lighttae_full_size.safetensors")
    assert [item for item in decoders.check_lighttae_full_size(file, *CPU) if not item.passed] == []


@pytest.mark.parametrize(
    "sizes", [{}, {"temporal_downsample": (True, False, True), "dim_mult": (1, 2, 2, 4), "num_res_blocks": 1}]
)
def test_it_equals_diffusers(wan21: Wan21VAE, sizes: dict):
    diffusers = pytest.importorskip("diffusers")
    config = replace(wan21.config, **sizes)
    ours = randomise(Wan21VAE(config), 5)
    theirs = diffusers.AutoencoderKLWan(
        base_dim=config.encoder_dim,
        decoder_base_dim=config.decoder_dim,
        z_dim=config.z_dim,
        dim_mult=list(config.dim_mult),
        num_res_blocks=config.num_res_blocks,
        temperal_downsample=list(config.temporal_downsample),
    )
    theirs.load_state_dict(vae_to_diffusers(ours.state_dict()), strict=True)
    generator = torch.Generator().manual_seed(5)
    mean, std = (torch.tensor(values).view(-1, 1, 1, 1) for values in (config.latents_mean, config.latents_std))

    latents = torch.randn(2, config.z_dim, 4, 2, 3, generator=generator)
    frames = theirs.decode(latents * std + mean).sample
    assert frames.abs().lt(1).float().mean() > 0.5, "a saturated reference would prove nothing"
    assert relative_error(ours.decode_stream(latents)[0], frames) < 1e-5

    video = torch.rand(2, 3, 9, 16, 24, generator=generator) * 2 - 1
    encoded = (theirs.encode(video).latent_dist.mode() - mean) / std
    assert relative_error(ours.encode_stream(video)[0], encoded) < 1e-5


def test_released_names_and_sizes_equal_those_of_diffusers():
    diffusers = pytest.importorskip("diffusers")
    with torch.device("meta"):
        theirs = diffusers.AutoencoderKLWan()
    ours = vae_to_diffusers(Wan21VAE(Wan21VAEConfig(), device="meta").state_dict())
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    assert list(Wan21VAEConfig().latents_mean) == theirs.config.latents_mean
    assert list(Wan21VAEConfig().latents_std) == theirs.config.latents_std


def test_names_are_those_of_the_released_file():
    names = Wan21VAE(Wan21VAEConfig(), device="meta").state_dict().keys()
    assert len(names) == 194
    assert "decoder.upsamples.14.residual.6.weight" in names
    assert "decoder.upsamples.7.time_conv.weight" in names
    assert "encoder.downsamples.8.time_conv.bias" in names


@pytest.mark.parametrize("prefix", ["", "vae.", "first_stage_model."])
def test_renaming_there_and_back_returns_the_same_tensors(wan21: Wan21VAE, prefix: str):
    native = wan21.state_dict()
    diffusers = vae_to_diffusers(native)
    assert not set(diffusers) & set(native)
    assert "decoder.up_blocks.1.upsamplers.0.time_conv.weight" in diffusers
    assert "encoder.down_blocks.5.time_conv.weight" in diffusers
    for state in (native, diffusers):
        back = vae_to_native({prefix + name: tensor for name, tensor in state.items()})
        assert back.keys() == native.keys()
        assert all(back[name] is tensor for name, tensor in native.items())


@pytest.mark.parametrize("config", SIZES, ids=["released", "lightvae", "other"])
def test_sizes_are_read_off_the_tensors(config: Wan21VAEConfig):
    state = Wan21VAE(config, device="meta").state_dict()
    assert vae_config_from(state) == config
    assert vae_config_from(vae_to_diffusers(state)) == config


def test_the_config_says_which_vae_it_is():
    assert Wan21VAEConfig(24, 24, 16) != VAEConfig(24, 24, 16, latents_mean=(0.0,) * 16, latents_std=(1.0,) * 16)
    assert type(make_vae(Wan21VAEConfig(4, 4), device="meta")) is Wan21VAE
    assert type(make_vae(VAEConfig(8, 8), device="meta")) is Wan22VAE
    assert (Wan21VAEConfig().spatial_stride, VAEConfig().spatial_stride) == (8, 16)
    assert Wan21VAE(Wan21VAEConfig(), device="meta").reach == 40


@pytest.fixture
def file(wan21: Wan21VAE, tmp_path: Path) -> Path:
    torch.save(wan21.state_dict(), tmp_path / "Wan2.1_VAE.pth")
    return tmp_path / "Wan2.1_VAE.pth"


def test_files_load(wan21: Wan21VAE, file: Path, tmp_path: Path):
    save_file(vae_to_diffusers(wan21.state_dict()), tmp_path / "diffusers.safetensors")
    for path in (file, tmp_path / "diffusers.safetensors"):
        loaded = load_vae(path, latent_channels=3)
        assert isinstance(loaded, Wan21VAE)
        assert all(torch.equal(tensor, wan21.state_dict()[name]) for name, tensor in loaded.state_dict().items())
        assert loaded.fingerprint


def test_conversion_keeps_it(wan21: Wan21VAE, file: Path, tmp_path: Path):
    convert(file, tmp_path / "new.safetensors", dtype="fp32")
    assert open_vae(tmp_path / "new.safetensors").config == open_vae(file).config


def test_a_vae_of_other_latents_than_the_networks_is_refused_by_name(tmp_path: Path):
    save_file(randomise(Wan21VAE(Wan21VAEConfig(2, 2)), 0).state_dict(), tmp_path / "wan21.safetensors")
    with pytest.raises(InputError, match=r"This is a Wan 2\.1 VAE \(16 channels\).*48: give .*wan2\.2_vae"):
        load_vae(tmp_path / "wan21.safetensors", latent_channels=48)
    save_file(randomise(Wan22VAE(VAEConfig(4, 4)), 0).state_dict(), tmp_path / "wan22.safetensors")
    with pytest.raises(InputError, match=r"This is a Wan 2\.2 VAE \(48 channels\).*16: give .*Wan2\.1_VAE"):
        open_vae(tmp_path / "wan22.safetensors", latent_channels=16)


def test_an_incomplete_file_is_refused(wan21: Wan21VAE, tmp_path: Path):
    state = wan21.state_dict()
    del state["decoder.middle.1.proj.bias"]
    save_file(state, tmp_path / "vae.safetensors")
    with pytest.raises(InputError, match=r"does not fit the Wan 2\.1 VAE .*1 missing \(decoder\.middle\.1\.proj\.bias"):
        load_vae(tmp_path / "vae.safetensors")
    del state["encoder.downsamples.3.residual.2.weight"]
    with pytest.raises(
        InputError, match=r"incomplete, it has no tensor 'encoder\.downsamples\.3\.residual\.2\.weight'"
    ):
        vae_config_from(state)


TINY = TinyDecoderConfig(16, widths=(12, 8, 8, 4), patch=1)


@pytest.fixture
def tiny_state() -> dict[str, Tensor]:
    return randomise(TinyDecoder(TINY), 0).state_dict()


@pytest.mark.parametrize(("name", "raw"), [("taew2_1.pth", False), ("lighttaew2_1.pth", True), ("LightTAE.pt", True)])
def test_the_name_tells_which_latents_a_tiny_decoder_reads(
    tmp_path: Path, tiny_state: dict[str, Tensor], name: str, raw: bool
):
    torch.save(tiny_state, tmp_path / name)
    config = load_tiny_decoder(tmp_path / name).config
    assert config.latents_mean == (WAN21_LATENTS_MEAN if raw else ())
    assert config == replace(TINY, latents_mean=config.latents_mean, latents_std=config.latents_std)
    told = load_tiny_decoder(tmp_path / name, raw_latents=not raw)
    assert bool(told.config.latents_mean) is not raw


def test_a_tiny_decoder_drops_what_its_file_has_too_much(tmp_path: Path, tiny_state: dict[str, Tensor]):
    """An encoder, and rows of the growing layers for frames that are not made: the first ones."""
    grow = "decoder.7.conv.weight"
    twice = torch.cat((torch.randn(12, 12, 1, 1), tiny_state[grow]))
    torch.save({**tiny_state, grow: twice, "encoder.0.weight": torch.ones(64, 3, 3, 3)}, tmp_path / "taew2_1.pth")
    loaded = load_tiny_decoder(tmp_path / "taew2_1.pth").state_dict()
    assert loaded.keys() == tiny_state.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tiny_state.items())


def test_latents_that_are_not_normalised_are_made_from_those_that_are(raw_tiny: TinyDecoder):
    latents = torch.randn(1, 5, 3, 2, 3, generator=torch.Generator().manual_seed(0))
    plain = TinyDecoder(replace(raw_tiny.config, latents_mean=(), latents_std=()))
    plain.load_state_dict(raw_tiny.state_dict())
    mean, std = (torch.tensor(v).view(-1, 1, 1, 1) for v in (raw_tiny.config.latents_mean, raw_tiny.config.latents_std))
    assert torch.equal(raw_tiny.decode(latents), plain.decode(latents * std + mean))
    assert not torch.equal(raw_tiny.decode(latents), plain.decode(latents))


@pytest.mark.parametrize(("name", "model"), [("taehv.pth", "HunyuanVideo"), ("taecvx.safetensors", "CogVideoX")])
def test_tiny_decoders_of_the_same_shape_are_refused_by_their_names(tiny_state, name: str, model: str):
    with pytest.raises(InputError, match=rf"the tiny decoder of {model};.*lighttaew2_1"):
        tiny_config_from(tiny_state, name)


def test_picture_sides_go_by_the_stride():
    check_size(480, 848, 8)
    check_size(16, 16, 8)
    with pytest.raises(InputError, match="width must be a multiple of 16 pixels, got 840: choose 832 or 848"):
        check_size(480, 840, 8)
    with pytest.raises(InputError, match="multiple of 32 pixels, got 848"):
        check_size(480, 848)
