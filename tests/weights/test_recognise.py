"""The right model gives its sizes; any other is named, so that the user knows what was picked by mistake."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hyworld.config import PRESETS, DiTConfig
from hyworld.errors import InputError
from hyworld.weights import dit_config_from, dit_shapes, dit_to_diffusers, dit_to_native, read_checkpoint
from hyworld.weights.recognise import check_dit, is_camera_tensor, is_vae


def named(*names: str) -> dict[str, Tensor]:
    return {name: torch.empty(4, 4, device="meta") for name in names}


def meta(config: DiTConfig) -> dict[str, Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in dit_shapes(config).items()}


def test_wan_5b_has_889_tensors_64_of_them_for_camera_and_action(golden_dit: Path) -> None:
    """Names as the original program writes them, from a file of three blocks that it wrote."""
    written = read_checkpoint(golden_dit).state
    released = {re.sub(r"^blocks\.\d+", f"blocks.{layer}", name) for name in written for layer in range(30)}
    shapes = dit_to_diffusers(dit_shapes(DiTConfig()))
    assert shapes.keys() == released
    assert len(released) == 889
    assert sum("action_embedder" in name or "to_out_prope" in name for name in released) == 64
    assert sum(map(is_camera_tensor, dit_shapes(DiTConfig()))) == 64
    assert sum(map(math.prod, shapes.values())) == 5_293_225_152


def test_wan_5b_is_recognised_without_metadata(meta_state: dict[str, Tensor]) -> None:
    assert dit_config_from(meta_state, {}) == DiTConfig()
    check_dit(meta_state, DiTConfig())


@pytest.mark.parametrize(
    "config",
    [
        {"hd": 32, "heads": 2},
        {"heads": 2},
        {"attention_head_dim": 32, "num_attention_heads": 2},
        {"num_attention_heads": 2},
        {"num_heads": 2, "dim": 64},
    ],
)
def test_head_size_from_metadata(native: dict[str, Tensor], golden_config: DiTConfig, config: dict[str, int]) -> None:
    assert dit_config_from(native, {"config": json.dumps(config)}) == golden_config


def test_head_size_as_argument(native: dict[str, Tensor], golden_config: DiTConfig) -> None:
    assert dit_config_from(native, {}, head_dim=32) == golden_config
    assert dit_config_from(native, {"config": '{"hd": 32}'}, head_dim=16).num_heads == 4


@pytest.mark.parametrize("metadata", [{}, {"config": "not json"}, {"config": "[1]"}, {"config": '{"hd": "x"}'}])
def test_unknown_head_size_is_asked_for(native: dict[str, Tensor], metadata: dict[str, str]) -> None:
    with pytest.raises(
        InputError, match=r"tiny\.pt does not say how its width of 64 divides into heads: give head_dim"
    ):
        dit_config_from(native, metadata, name="tiny.pt")


def test_a_small_model_of_width_128_is_not_taken_for_one_head(golden_config: DiTConfig) -> None:
    with pytest.raises(InputError, match="give head_dim"):
        dit_config_from(meta(PRESETS["tiny"].dit), {})


def test_head_size_that_does_not_divide(native: dict[str, Tensor]) -> None:
    with pytest.raises(InputError, match="width 64, which does not divide into heads of 48"):
        dit_config_from(native, {}, head_dim=48)


def test_base_wan_is_recognised(meta_state: dict[str, Tensor]) -> None:
    base = {name: tensor for name, tensor in meta_state.items() if not is_camera_tensor(name)}
    assert len(base) == 825
    config = dit_config_from(base, {})
    assert config == DiTConfig(cameras=False)
    check_dit(base, config)

    del base["blocks.3.ffn.2.bias"]
    with pytest.raises(InputError, match=r"the Wan transformer of 825 tensors: 1 missing \(blocks.3.ffn.2.bias\)"):
        check_dit(base, config)


@pytest.mark.parametrize(
    ("heads", "layers", "sizes", "tensors"),
    [
        (12, 30, {}, 825),  # Wan 2.1 T2V-1.3B, Self-Forcing, Causal-Forcing
        (40, 40, {}, 1095),  # Wan 2.1 T2V-14B, each half of Wan 2.2 T2V-A14B
        (40, 40, {"image_channels": 20, "clip_dim": 1280}, 1303),  # Wan 2.1 I2V-14B
        (40, 40, {"image_channels": 20}, 1095),  # each half of Wan 2.2 I2V-A14B
    ],
)
def test_variants_of_wan(heads: int, layers: int, sizes: dict[str, int], tensors: int) -> None:
    config = DiTConfig(heads, 128, layers, 13824, 16, cameras=False, **sizes)
    state = meta(config)
    assert len(state) == tensors
    assert dit_config_from(state, {}) == config
    assert dit_config_from(dit_to_native(dit_to_diffusers(state)), {}) == config
    check_dit(state, config)


@pytest.mark.parametrize(("channels_in", "channels_out"), [(48, 16), (52, 16), (100, 48), (16, 48)])
def test_other_wan_models(channels_in: int, channels_out: int) -> None:
    state = meta(DiTConfig(num_layers=1, latent_channels=channels_out, cameras=False))
    state["patch_embedding.weight"] = torch.empty(3072, channels_in, 1, 2, 2, device="meta")
    with pytest.raises(
        InputError, match=rf"another Wan model, .*{channels_in} channels in, {channels_out} out\): give HY-WorldPlay"
    ):
        dit_config_from(state, {})


@pytest.mark.parametrize(
    ("names", "verdict"),
    [
        (["blocks.0.self_attn.q.lora_A.weight", "blocks.0.self_attn.q.lora_B.weight"], "is a LoRA"),
        (["lora_unet_blocks_0_self_attn_q.lora_down.weight"], "is a LoRA"),
        (["transformer.blocks.0.attn1.to_q.lora.up.weight"], "is a LoRA"),
        (["encoder.conv1.weight", "decoder.conv1.weight", "conv2.weight"], "is a VAE"),
        (["encoder.conv_in.weight", "decoder.mid_block.resnets.0.conv1.weight"], "is a VAE"),
        (["shared.weight", "encoder.block.0.layer.0.SelfAttention.q.weight"], "is a text encoder"),
        (["token_embedding.weight", "blocks.0.attn.q.weight"], "is a text encoder"),
        (["decoder.1.weight", "decoder.3.conv.0.weight"], "is a tiny decoder"),
        (["img_in.proj.weight", "double_blocks.0.img_attn_q.weight"], "another family's transformer"),
        (["img_emb.emb_pos", "patch_embedding.weight"], "between a first and a last picture"),
        (["control_adapter.conv.weight", "patch_embedding.weight"], "steered by something else"),
        (["vace_blocks.0.self_attn.q.weight", "patch_embedding.weight"], "VACE"),
        (["b", "a", "d", "c"], r"not a model this program knows \(it holds a, b, c, …\)"),
        ([], "not a model this program knows"),
        (["blocks.0.self_attn.q.weight"], "incomplete transformer.*if this is one of several shards"),
    ],
)
def test_other_models_are_named(names: list[str], verdict: str) -> None:
    with pytest.raises(InputError, match=rf"^some\.file .*{verdict}"):
        dit_config_from(named(*names), {}, name="some.file")


def test_misfits_are_counted_and_the_first_three_listed(native: dict[str, Tensor], golden_config: DiTConfig) -> None:
    state = dict(native)
    for layer in range(2):
        for leaf in ("weight", "bias"):
            del state[f"blocks.{layer}.ffn.2.{leaf}"]
    state |= named("blocks.0.extra.weight")
    state["head.head.bias"] = torch.zeros(7)
    with pytest.raises(InputError) as error:
        check_dit(state, golden_config, name="x.pt")
    message = str(error.value)
    assert "4 missing (" in message
    assert len(re.findall(r"blocks\.\d\.ffn\.2\.", message)) == 3
    assert "1 unexpected (blocks.0.extra.weight)" in message
    assert "1 of another shape (head.head.bias is [7] instead of [24])" in message


def test_integer_quantisation_is_named(native: dict[str, Tensor], golden_config: DiTConfig) -> None:
    state = dict(native)
    state["blocks.0.ffn.0.weight"] = state["blocks.0.ffn.0.weight"].to(torch.int8)
    with pytest.raises(InputError, match=r"not supported \(blocks.0.ffn.0.weight is torch.int8\)"):
        check_dit(state, golden_config)


def test_is_vae(native: dict[str, Tensor]) -> None:
    assert is_vae(["encoder.conv1.weight"])
    assert is_vae(["decoder.conv_in.bias"])
    assert not is_vae(native)
    assert not is_vae(["decoder.1.weight"])


DREAMX = DiTConfig(camera_width=768)


def test_dreamx_world_is_recognised_without_metadata() -> None:
    state = meta(DREAMX)
    assert len(state) == 825 + 30 * 10
    assert dit_config_from(state, {}) == DREAMX
    assert dit_config_from(state, {"config": '{"_class_name": "CausalWanModel", "attn_compress": 4}'}) == DREAMX
    assert dit_config_from(dit_to_native({f"model.{name}": tensor for name, tensor in state.items()}), {}) == DREAMX
    check_dit(state, DREAMX)


def test_tensors_of_dreamx_world_that_nobody_expects_are_named() -> None:
    state = meta(DREAMX)
    state["blocks.3.cam_self_attn.gate"] = torch.empty(1, device="meta")
    del state["blocks.4.cam_self_attn.norm_q.weight"]
    with pytest.raises(
        InputError,
        match=r"the DreamX-World transformer of 1125 tensors: 1 missing \(blocks.4.cam_self_attn.norm_q.weight\); "
        r"1 unexpected \(blocks.3.cam_self_attn.gate\)",
    ):
        check_dit(state, DREAMX)


@pytest.mark.parametrize(
    ("name", "metadata", "said"),
    [
        ("models/DreamX-World-5B-Cam/model.safetensors", {}, "by its name DreamX-World-5B-Cam"),
        ("dreamx_5b_cam_bf16.safetensors", {}, "by its name"),
        ("x.safetensors", {"config": '{"_class_name": "Wan2_2Transformer3DModel"}'}, r"\(Wan2_2Transformer3DModel\)"),
    ],
)
def test_the_bidirectional_sister_is_refused(name: str, metadata: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        dit_config_from(meta(DREAMX), metadata, name=name)
    assert dit_config_from(meta(DREAMX), {}, name="dreamx_world_5b_camera.safetensors") == DREAMX
