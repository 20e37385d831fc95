"""Names of checkpoints: which files are taken, which are refused, and what is read off them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hyworld.config import TINY, TINY_RANDOM, TinyDecoderConfig, VAEConfig, Wan21VAEConfig
from hyworld.errors import InputError
from hyworld.vae import TinyDecoder, Wan21VAE, Wan22VAE
from hyworld.weights.remap_tiny import tiny_config_from
from hyworld.weights.remap_vae import (
    detect_vae,
    vae_config_from,
    vae_to_diffusers,
    vae_to_native,
)

SMALL = VAEConfig(encoder_dim=4, decoder_dim=4, z_dim=6, latents_mean=(0.0,) * 6, latents_std=(1.0,) * 6)


def meta(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


def test_the_released_vae_has_196_tensors():
    assert len(Wan22VAE(VAEConfig(), device="meta").state_dict()) == 196


def test_names_are_the_original_ones(vae_weights):
    assert set(Wan22VAE(SMALL, device="meta").state_dict()) == set(vae_weights)


def test_renaming_there_and_back_returns_the_same_tensors(vae_weights):
    diffusers = vae_to_diffusers(vae_weights)
    assert not set(diffusers) & set(vae_weights)
    assert "decoder.up_blocks.1.upsampler.time_conv.weight" in diffusers
    assert "encoder.mid_block.attentions.0.to_qkv.bias" in diffusers
    for prefix in ("", "vae.", "first_stage_model."):
        for state in (vae_weights, diffusers):
            native = vae_to_native({prefix + name: tensor for name, tensor in state.items()})
            assert native.keys() == vae_weights.keys()
            assert all(native[name] is tensor for name, tensor in vae_weights.items())


def test_renaming_is_about_names_alone(vae_weights):
    numbered = {name: i for i, name in enumerate(vae_weights)}
    assert vae_to_native(vae_to_diffusers(numbered)) == numbered


def test_detects_the_naming(vae_weights):
    assert detect_vae(vae_weights) == (VAEConfig, "native")
    diffusers = {f"vae.{name}": tensor for name, tensor in vae_to_diffusers(vae_weights).items()}
    assert detect_vae(diffusers) == (VAEConfig, "diffusers")
    wan21 = Wan21VAE(Wan21VAEConfig(4, 4), device="meta").state_dict()
    assert detect_vae(wan21) == (Wan21VAEConfig, "native")
    assert detect_vae(vae_to_diffusers(wan21)) == (Wan21VAEConfig, "diffusers")


def test_tensors_too_many_are_named(vae_weights):
    with pytest.raises(InputError, match=r"1 tensors too many \(decoder\.extra\.weight\)"):
        vae_to_native(vae_weights | {"decoder.extra.weight": meta(1)})
    with pytest.raises(InputError, match=r"encoder\.down_blocks\.0\.resnets\.9\.norm1\.beta"):
        vae_to_native(vae_to_diffusers(vae_weights) | {"encoder.down_blocks.0.resnets.9.norm1.beta": meta(1)})


@pytest.mark.parametrize(
    "state", [{}, {"blocks.0.self_attn.q.weight": meta(4, 4)}, {"decoder.1.weight": meta(4, 4, 3, 3)}]
)
def test_what_is_no_vae_is_refused(state):
    with pytest.raises(InputError, match="not a Wan VAE"):
        vae_to_native(state)


@pytest.mark.parametrize(
    "config",
    [
        VAEConfig(),
        TINY.vae,
        TINY_RANDOM.vae,
        SMALL,
        VAEConfig(
            encoder_dim=4,
            decoder_dim=8,
            z_dim=2,
            dim_mult=(1, 2, 2),
            num_res_blocks=1,
            temporal_downsample=(True, False),
            latents_mean=(0.0,) * 2,
            latents_std=(1.0,) * 2,
        ),
    ],
)
def test_sizes_are_read_off_the_tensors(config):
    state = Wan22VAE(config, device="meta").state_dict()
    assert vae_config_from(state) == config
    assert vae_config_from(vae_to_diffusers(state)) == config


def test_metadata_wins():
    state = Wan22VAE(SMALL, device="meta").state_dict()
    stated = {
        "dim": 4,
        "dec_dim": 4,
        "z_dim": 6,
        "dim_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "attn_scales": [],
        "temperal_downsample": [False, True, True],
        "dropout": 0.0,
    }
    assert vae_config_from(state, {"config": json.dumps(stated)}) == SMALL
    statistics = {"latents_mean": [0.5] * 6, "latents_std": [2.0] * 6}
    assert vae_config_from(state, {"config": json.dumps(stated | statistics)}) == replace(
        SMALL, latents_mean=(0.5,) * 6, latents_std=(2.0,) * 6
    )


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_metadata_that_is_not_an_object_is_refused(text):
    with pytest.raises(InputError, match='metadata "config"'):
        vae_config_from(Wan22VAE(SMALL, device="meta").state_dict(), {"config": text})


def test_an_incomplete_vae_is_refused():
    state = Wan22VAE(SMALL, device="meta").state_dict()
    del state["conv2.weight"]
    with pytest.raises(InputError, match=r"incomplete, it has no tensor 'conv2\.weight'"):
        vae_config_from(state)


@pytest.mark.parametrize("layout", ["base", "super"])
@pytest.mark.parametrize("channels", [48, 12])
def test_tiny_decoder_is_read_off_the_tensors(layout, channels):
    config = TinyDecoderConfig(latent_channels=channels, layout=layout)
    state = TinyDecoder(config, device="meta").state_dict()
    assert tiny_config_from(state | {"encoder.0.weight": meta(64, 12, 3, 3)}) == config


def test_the_sizes_of_a_small_decoder_are_read_off_the_tensors():
    config = TinyDecoderConfig(latent_channels=16, layout="small", widths=(20, 12, 8, 6), blocks=(2, 1, 3))
    state = TinyDecoder(config, device="meta").state_dict()
    assert tiny_config_from(state) == config
    del state["decoder.stages.2.blocks.0.conv2.weight"]
    with pytest.raises(InputError, match=r"incomplete.*stages\.2\.blocks\.0\.conv2"):
        tiny_config_from(state)


@pytest.mark.parametrize("sizes", [{"layout": "large"}, {"widths": (8, 8, 8)}, {"blocks": (1, 0, 1)}])
def test_sizes_that_no_tiny_decoder_has_are_refused(sizes):
    with pytest.raises(InputError, match=f"TinyDecoderConfig.{next(iter(sizes))} must be"):
        TinyDecoderConfig(**sizes)


@pytest.mark.parametrize(("channels", "name"), [(16, "another model"), (32, "taehv1_5"), (128, "taeltx")])
def test_tiny_decoders_of_other_models_are_refused_by_name(channels, name):
    state = TinyDecoder(TinyDecoderConfig(latent_channels=channels), device="meta").state_dict()
    with pytest.raises(InputError, match=rf"{name}.*{channels} latent channels.*taew2_2"):
        tiny_config_from(state)


def test_a_tiny_decoder_with_other_patches_is_refused():
    state = TinyDecoder(TinyDecoderConfig(), device="meta").state_dict()
    with pytest.raises(InputError, match="another model"):
        tiny_config_from(state | {"decoder.22.weight": meta(3, 64, 3, 3)})


def test_what_is_no_tiny_decoder_is_refused(vae_weights):
    with pytest.raises(InputError, match="not a tiny decoder"):
        tiny_config_from(vae_weights)
