"""From file to network: the right numbers, in the dtype asked for, ready for inference."""

from __future__ import annotations

import json
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hyworld.config import DiTConfig, VAEConfig
from hyworld.dit import WanDiT
from hyworld.errors import InputError
from hyworld.fp8 import MARKER, is_quantised_layer, marker, quantise, quantise_rows, scale_name
from hyworld.vae import make_vae
from hyworld.weights import (
    convert,
    dit_to_diffusers,
    load_decoder,
    load_dit,
    load_tiny_decoder,
    load_vae,
    open_dit,
    read_checkpoint,
    vae_to_diffusers,
)
from hyworld.weights.random import randomise
from hyworld.weights.recognise import is_camera_tensor

CONFIG = {"config": '{"hd": 32}'}


def assert_holds(module: nn.Module, expected: dict[str, Tensor], dtype: torch.dtype | None = None) -> None:
    state = module.state_dict()
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor.to(dtype or tensor.dtype)), name
        assert state[name].dtype == (dtype or tensor.dtype)
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.bfloat16, torch.float16])
def test_load_dit(golden_dit: Path, native: dict[str, Tensor], golden_config, dtype: torch.dtype | None) -> None:
    model = load_dit(golden_dit, dtype=dtype)
    assert model.config == golden_config
    assert_holds(model, native, dtype)


def test_default_dtype_is_bfloat16(golden_dit: Path, native: dict[str, Tensor]) -> None:
    assert_holds(load_dit(golden_dit), native, torch.bfloat16)


def test_load_dit_from_the_released_envelope(golden_pickle: Path, native: dict[str, Tensor]) -> None:
    assert_holds(load_dit(golden_pickle, dtype=None, head_dim=32), native)


def test_load_dit_from_an_old_pickle(tmp_path: Path, native: dict[str, Tensor]) -> None:
    torch.save({"generator": native}, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    assert_holds(load_dit(tmp_path / "x.pt", dtype=None, head_dim=32), native)


def test_load_dit_from_shards(tmp_path: Path, native: dict[str, Tensor]) -> None:
    released = dit_to_diffusers(native)
    names = sorted(released)
    weight_map = {}
    for i, part in enumerate((names[:40], names[40:])):
        save_file({name: released[name] for name in part}, tmp_path / f"s{i}.safetensors")
        weight_map |= dict.fromkeys(part, f"s{i}.safetensors")
    (tmp_path / "s.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (tmp_path / "config.json").write_text('{"attention_head_dim": 32, "num_attention_heads": 2}')
    assert_holds(load_dit(tmp_path, dtype=None), native)
    with pytest.raises(InputError, match="if this is one of several shards"):
        load_dit(tmp_path / "s0.safetensors")


def test_layers_come_from_operations(golden_dit: Path, golden_vae: Path) -> None:
    class Linear(nn.Linear):
        pass

    class Conv3d(nn.Conv3d):
        pass

    operations = types.SimpleNamespace(**{**vars(nn), "Linear": Linear, "Conv3d": Conv3d})
    dit = load_dit(golden_dit, operations=operations)
    assert {type(module) for module in dit.modules() if isinstance(module, nn.Linear)} == {Linear}
    vae = load_vae(golden_vae, operations=operations)
    assert any(isinstance(module, Conv3d) for module in vae.modules())


@pytest.mark.parametrize("dtype", [None, torch.float32])
def test_scaled_fp8_is_multiplied_out(tmp_path: Path, native: dict[str, Tensor], dtype: torch.dtype | None) -> None:
    stored, expected = {MARKER: marker()}, {}
    for name, tensor in native.items():
        if is_quantised_layer(name):
            stored[name], scale = quantise(tensor)
            stored[name.replace(".weight", ".scale_weight")] = scale
            expected[name] = (stored[name].float() * scale).to(dtype or torch.bfloat16)
        else:
            stored[name] = expected[name] = tensor
    save_file(stored, tmp_path / "x.safetensors", CONFIG)
    assert_holds(load_dit(tmp_path / "x.safetensors", dtype=dtype), expected)


def test_two_models_in_one_file_are_refused_by_file_name(tmp_path: Path, native: dict[str, Tensor]) -> None:
    twice = {**native, **{f"model.{name}": tensor.clone() for name, tensor in native.items()}}
    save_file(twice, tmp_path / "x.safetensors", CONFIG)
    with pytest.raises(InputError, match=r"x\.safetensors: .* twice"):
        load_dit(tmp_path / "x.safetensors")


def test_base_wan_loads_with_zeros_when_allowed(tmp_path: Path, native: dict[str, Tensor]) -> None:
    base = {name: tensor for name, tensor in native.items() if not is_camera_tensor(name)}
    save_file(base, tmp_path / "base.safetensors", CONFIG)
    assert_holds(load_dit(tmp_path / "base.safetensors", dtype=None), base)
    assert open_dit(tmp_path / "base.safetensors", allow_base=True).base
    expected = {name: tensor if name in base else torch.zeros_like(tensor) for name, tensor in native.items()}
    model = load_dit(tmp_path / "base.safetensors", dtype=None, allow_base=True)
    assert_holds(model, expected)
    model.action_embedding[0].weight.add_(1)  # an expanded zero would refuse


def wan(**sizes: object) -> dict[str, Tensor]:
    """A small Wan model of one of its variants."""
    config = DiTConfig(2, 12, 1, 20, 16, 10, 16, cameras=False, **sizes)
    return randomise(WanDiT(config), 0).state_dict()


@pytest.mark.parametrize("sizes", [{}, {"image_channels": 20}, {"image_channels": 20, "clip_dim": 14}])
@pytest.mark.parametrize("rename", [dict, dit_to_diffusers])
def test_load_wan(tmp_path: Path, sizes: dict[str, int], rename) -> None:
    state = wan(**sizes)
    save_file(rename(state), tmp_path / "wan.safetensors", {"config": '{"num_heads": 2}'})
    model = load_dit(tmp_path / "wan.safetensors", dtype=None, allow_base=True)
    assert model.config == DiTConfig(2, 12, 1, 20, 16, 10, 16, cameras=False, **sizes)
    assert_holds(model, state)


@pytest.mark.parametrize("zipped", [False, True])
def test_of_a_streaming_wan_the_ema_weights_are_loaded_if_nothing_else_is_asked(tmp_path: Path, zipped: bool) -> None:
    ema = wan()
    raw = {name: tensor + 1 for name, tensor in ema.items()}
    wrapped = {f"model._fsdp_wrapped_module.{name}": tensor for name, tensor in ema.items()}
    both = {"generator": {f"model.{name}": tensor for name, tensor in raw.items()}, "generator_ema": wrapped}
    torch.save(both, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    for choice, expected in ((None, ema), (True, ema), (False, raw)):
        assert_holds(load_dit(tmp_path / "x.pt", dtype=None, head_dim=12, ema=choice), expected)
        assert_holds(load_dit(tmp_path / "x.pt", head_dim=12, ema=choice), expected, torch.bfloat16)
    convert(tmp_path / "x.pt", tmp_path / "x.safetensors", dtype="fp32", ema=False)
    assert_holds(load_dit(tmp_path / "x.safetensors", dtype=None, head_dim=12), raw)


def test_of_worldplay_the_other_weights_are_loaded(golden_pickle: Path, native: dict[str, Tensor]) -> None:
    assert read_checkpoint(golden_pickle, ema=None).envelope == "generator_ema"
    assert open_dit(golden_pickle, head_dim=32).checkpoint.envelope == "generator"
    zeros = load_dit(golden_pickle, dtype=None, head_dim=32, ema=True)
    assert not any(parameter.any() for parameter in zeros.parameters())


def test_ema_weights_that_are_not_there(tmp_path: Path, golden_dit: Path) -> None:
    torch.save({"generator": wan()}, tmp_path / "x.pt")
    for path in (tmp_path / "x.pt", golden_dit):
        with pytest.raises(InputError, match=r"has no EMA weights \(no generator_ema\): leave the choice to the file"):
            load_dit(path, head_dim=12, ema=True)


def test_allow_base_changes_nothing_for_the_complete_model(golden_dit: Path, native: dict[str, Tensor]) -> None:
    opened = open_dit(golden_dit, allow_base=True)
    assert not opened.base
    assert_holds(load_dit(golden_dit, dtype=None, allow_base=True), native)


def test_refusals_name_the_file(golden_vae: Path, golden_dit: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"vae_weights_native\.safetensors is a VAE"):
        load_dit(golden_vae)
    with pytest.raises(InputError, match=r"dit_weights\.safetensors: This file is not a Wan VAE"):
        load_vae(golden_dit)
    with pytest.raises(InputError, match=r"dit_weights\.safetensors: This file is not a tiny decoder"):
        load_tiny_decoder(golden_dit)


@pytest.mark.parametrize("rename", [dict, vae_to_diffusers])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_load_vae(tmp_path: Path, golden_vae: Path, rename, dtype: torch.dtype | None) -> None:
    expected = load_file(golden_vae)
    save_file(rename(expected), tmp_path / "vae.safetensors")
    vae = load_vae(tmp_path / "vae.safetensors", dtype=dtype)
    assert vae.latent_channels == 6
    assert_holds(vae, expected, dtype)


def test_load_vae_from_pickle_equals_safetensors(tmp_path: Path, golden_vae: Path) -> None:
    expected = load_file(golden_vae)
    torch.save(expected, tmp_path / "Wan2.2_VAE.pth")
    assert_holds(load_vae(tmp_path / "Wan2.2_VAE.pth"), expected)


def test_incomplete_vae(tmp_path: Path, golden_vae: Path) -> None:
    state = load_file(golden_vae)
    del state["decoder.middle.1.proj.bias"]
    save_file(state, tmp_path / "vae.safetensors")
    with pytest.raises(
        InputError, match=r"vae\.safetensors does not fit .*1 missing \(decoder\.middle\.1\.proj\.bias\)"
    ):
        load_vae(tmp_path / "vae.safetensors")


def test_the_vae_keeps_its_latent_statistics_through_conversion(tmp_path: Path, golden_vae: Path) -> None:
    config = {"config": json.dumps({"latents_mean": [0.5] * 6, "latents_std": [2.0] * 6})}
    save_file(load_file(golden_vae), tmp_path / "vae.safetensors", config)
    convert(tmp_path / "vae.safetensors", tmp_path / "new.safetensors", dtype="fp32")
    loaded = load_vae(tmp_path / "new.safetensors")
    assert loaded.config.latents_mean == (0.5,) * 6
    assert loaded.config == load_vae(tmp_path / "vae.safetensors").config
    assert isinstance(loaded.config, VAEConfig)


@pytest.fixture
def tiny_state() -> dict[str, Tensor]:
    from hyworld.config import TinyDecoderConfig
    from hyworld.vae import TinyDecoder
    from hyworld.weights.random import randomise

    return randomise(TinyDecoder(TinyDecoderConfig(latent_channels=12)), 0).state_dict()


def test_load_tiny_decoder_ignores_the_encoder(tmp_path: Path, tiny_state: dict[str, Tensor]) -> None:
    torch.save({**tiny_state, "encoder.0.weight": torch.ones(64, 12, 3, 3)}, tmp_path / "taew2_2.pth")
    decoder = load_tiny_decoder(tmp_path / "taew2_2.pth")
    assert decoder.latent_channels == 12
    assert_holds(decoder, tiny_state)


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_decoder_of_a_narrower_vae(tmp_path: Path, wrapped: bool) -> None:
    """As a distilled one is released: diffusers' names, what it was trained with beside, in two envelopes."""
    sizes = VAEConfig(encoder_dim=2, decoder_dim=8, z_dim=6, latents_mean=(0.0,) * 6, latents_std=(1.0,) * 6)
    vae = randomise(make_vae(sizes), 0).eval()
    state = {**vae_to_diffusers(vae.state_dict()), "dynamic_feature_projection_heads.0.weight": torch.ones(3, 3)}
    torch.save({"state_dict": {"gen_model": state}} if wrapped else state, tmp_path / "MG-LightVAE.pth")
    decoder = load_decoder(tmp_path / "MG-LightVAE.pth", latent_channels=6)
    assert not hasattr(decoder, "encoder")
    latents = torch.randn(1, 6, 2, 2, 3)
    with torch.no_grad():
        assert torch.equal(decoder.decode_stream(latents)[0], vae.decode_stream(latents)[0])
    with pytest.raises(InputError, match=r"MG-LightVAE\.pth: This is a Wan 2\.2 VAE \(6 channels\)"):
        load_decoder(tmp_path / "MG-LightVAE.pth", latent_channels=48)


def test_a_tiny_decoder_is_a_decoder(tmp_path: Path, tiny_state: dict[str, Tensor]) -> None:
    torch.save(tiny_state, tmp_path / "taew2_2.pth")
    assert_holds(load_decoder(tmp_path / "taew2_2.pth"), tiny_state)


def test_incomplete_tiny_decoder(tmp_path: Path, tiny_state: dict[str, Tensor]) -> None:
    del tiny_state["decoder.22.bias"]
    torch.save(tiny_state, tmp_path / "taew2_2.pth")
    with pytest.raises(
        InputError, match=r"taew2_2\.pth does not fit the tiny decoder .*1 missing \(decoder\.22\.bias\)"
    ):
        load_tiny_decoder(tmp_path / "taew2_2.pth")


def test_fp8_layers_take_stored_fp8_as_it_is(tmp_path: Path, native: dict[str, Tensor]) -> None:
    """No detour through wider numbers: what the file holds is what multiplies; other weights are rounded row by row."""
    stored, wide = {}, "blocks.0.ffn.0.weight"
    for name, tensor in native.items():
        if is_quantised_layer(name) and name != wide:
            stored[name], stored[scale_name(name)] = quantise(tensor)
        else:
            stored[name] = tensor
    path = tmp_path / "model.safetensors"
    save_file(stored, path, CONFIG)
    model = load_dit(path, dtype=torch.float32, fp8=quantise_rows)
    block = model.blocks[0]
    qkv, up = block.self_attn.qkv, block.ffn[0]
    names = [f"blocks.0.self_attn.{part}.weight" for part in "qkv"]
    assert torch.equal(qkv.weight.float(), torch.cat([stored[name].float() for name in names]))
    scales = [stored[scale_name(name)].expand(len(stored[name]), 1) for name in names]
    assert torch.equal(qkv.scale, torch.cat(scales))
    assert torch.equal(up.weight.float() * up.scale, torch.mul(*map(torch.Tensor.float, quantise_rows(native[wide]))))
