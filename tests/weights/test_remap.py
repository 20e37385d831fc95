"""One table, two directions: released names, Wan-native names, and what training wraps around them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hyworld.config import DiTConfig
from hyworld.errors import InputError
from hyworld.weights import dit_shapes, dit_to_diffusers, dit_to_native
from hyworld.weights.recognise import is_camera_tensor
from hyworld.weights.remap import clean_key

WRAPPERS = ["_fsdp_wrapped_module", "_orig_mod", "_checkpoint_wrapped_module"]
PREFIXES = [*WRAPPERS, "model", "diffusion_model", "module"]
NATIVE_NAMES = sorted(dit_shapes(DiTConfig(num_layers=2)))
ALL_NAMES = NATIVE_NAMES + sorted(dit_to_diffusers(dict.fromkeys(NATIVE_NAMES)))


@pytest.mark.parametrize(
    ("key", "clean"),
    [
        ("model._fsdp_wrapped_module.blocks.0._fsdp_wrapped_module.attn1.to_q.weight", "blocks.0.attn1.to_q.weight"),
        ("model.diffusion_model.blocks.3.ffn.0.bias", "blocks.3.ffn.0.bias"),
        ("diffusion_model.head.modulation", "head.modulation"),
        ("module._orig_mod.patch_embedding.weight", "patch_embedding.weight"),
        ("blocks.0._checkpoint_wrapped_module.modulation", "blocks.0.modulation"),
        ("decoder.model.weight", "decoder.model.weight"),
    ],
)
def test_clean_key(key: str, clean: str) -> None:
    assert clean_key(key) == clean


@given(st.sampled_from(ALL_NAMES), st.lists(st.sampled_from(PREFIXES), max_size=4), st.data())
def test_any_wrapping_comes_off(name: str, prefixes: list[str], data: st.DataObject) -> None:
    parts = name.split(".")
    place = data.draw(st.integers(0, len(parts)))
    wrapped = ".".join([*prefixes, *parts[:place], data.draw(st.sampled_from(WRAPPERS)), *parts[place:]])
    assert clean_key(wrapped) == name


def test_released_names_and_back(native: dict[str, Tensor]) -> None:
    released = dit_to_diffusers(native)
    back = dit_to_native(released)
    assert back.keys() == native.keys()
    assert all(back[name] is native[name] for name in native)


def test_every_tensor_of_the_model_has_one_name_in_either_layout() -> None:
    names = dict.fromkeys(dit_shapes(DiTConfig()))
    released = dit_to_diffusers(names)
    assert len(released) == len(names) == 889
    assert not set(released) & set(names) - {"patch_embedding.weight", "patch_embedding.bias"}
    assert dit_to_native(released) == names


@given(st.sampled_from(ALL_NAMES))
def test_names_already_native_stay(name: str) -> None:
    native = next(iter(dit_to_native({name: None})))
    assert native in NATIVE_NAMES
    assert list(dit_to_native({native: None})) == [native]


def test_the_reference_file_maps_onto_the_architecture(native: dict[str, Tensor], golden_config: DiTConfig) -> None:
    assert {name: tuple(tensor.shape) for name, tensor in native.items()} == dit_shapes(golden_config)


def test_a_real_diffusers_wan_maps_onto_the_base_architecture() -> None:
    diffusers = pytest.importorskip("diffusers")
    config = DiTConfig(num_heads=2, head_dim=12, num_layers=2, ffn_dim=20, latent_channels=6, text_dim=10, freq_dim=16)
    with torch.device("meta"):
        theirs = diffusers.WanTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=6,
            out_channels=6,
            text_dim=10,
            freq_dim=16,
            ffn_dim=20,
            num_layers=2,
        ).state_dict()
    base = {name: shape for name, shape in dit_shapes(config).items() if not is_camera_tensor(name)}
    assert {name: tuple(tensor.shape) for name, tensor in dit_to_native(theirs).items()} == base


def test_leaves_of_quantised_files_follow_their_layer() -> None:
    state = dict.fromkeys(("blocks.7.attn2.to_out.0.scale_weight", "blocks.7.ffn.net.0.proj.weight_scale"))
    assert list(dit_to_native(state)) == ["blocks.7.cross_attn.o.scale_weight", "blocks.7.ffn.0.weight_scale"]
    assert dit_to_diffusers(dit_to_native(state)) == state


def test_unknown_names_pass_through() -> None:
    state = dict.fromkeys(("blocks.0.attn9.to_q.weight", "something", "blocks.x.norm2.weight"))
    assert dit_to_native(state) == state


def test_two_tensors_of_one_name_are_refused() -> None:
    twice = {"blocks.0.attn1.to_q.weight": 1, "model.blocks.0.self_attn.q.weight": 2}
    with pytest.raises(InputError, match=r"holds blocks.0.self_attn.q.weight twice"):
        dit_to_native(twice)
