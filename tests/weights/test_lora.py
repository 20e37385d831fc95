"""The names of layers in LoRA files."""

from __future__ import annotations

import pytest

from hyworld.config import DiTConfig
from hyworld.weights import dit_shapes, dit_to_diffusers, lora_layers

WEIGHTS = [f"diffusion_model.{name}" for name in dit_shapes(DiTConfig(num_layers=12))]


@pytest.mark.parametrize(
    ("key", "weight"),
    [
        ("transformer.blocks.0.attn1.to_q.lora_A.weight", "blocks.0.self_attn.q.weight"),
        ("blocks.11.attn2.to_out.0.lora_B.weight", "blocks.11.cross_attn.o.weight"),
        ("blocks.1.self_attn.v.alpha", "blocks.1.self_attn.v.weight"),
        ("base_model.model.blocks.1.ffn.net.2.lora_A.default.weight", "blocks.1.ffn.2.weight"),
        ("base_model.model.transformer.blocks.1.ffn.0.lora_A.weight", "blocks.1.ffn.0.weight"),
        ("lora_unet_blocks_1_attn1_to_q.lora_down.weight", "blocks.1.self_attn.q.weight"),
        ("lora_unet__blocks_11_cross_attn_k.lora_down.weight", "blocks.11.cross_attn.k.weight"),
        ("lora_transformer_blocks_0_attn1_to_out_prope_0.alpha", "blocks.0.self_attn.o_prope.weight"),
        ("lycoris_condition_embedder_time_proj.lokr_w1", "time_projection.1.weight"),
        ("transformer.blocks.3.norm2.diff", "blocks.3.norm3.weight"),
        ("transformer.blocks.3.scale_shift_table.diff", "blocks.3.modulation"),
        ("proj_out.lora.up.weight", "head.head.weight"),
        ("diffusion_model.patch_embedding.diff_b", "patch_embedding.weight"),
    ],
)
def test_known_names(key: str, weight: str) -> None:
    assert set(lora_layers([key], WEIGHTS).values()) == {f"diffusion_model.{weight}"}
    ((layer, _),) = lora_layers([key], WEIGHTS).items()
    assert key.startswith(f"{layer}.")


@pytest.mark.parametrize(
    ("key", "weight"),
    [
        ("diffusion_model.blocks.1.cross_attn.k_img.lora_down.weight", "blocks.1.cross_attn.k_img.weight"),
        ("transformer.blocks.1.attn2.add_v_proj.lora_A.weight", "blocks.1.cross_attn.v_img.weight"),
        ("lora_unet_blocks_1_attn2_add_k_proj.alpha", "blocks.1.cross_attn.k_img.weight"),
        ("transformer.blocks.1.attn2.norm_added_k.diff", "blocks.1.cross_attn.norm_k_img.weight"),
        ("transformer.condition_embedder.image_embedder.ff.net.0.proj.lora_A.weight", "img_emb.proj.1.weight"),
        ("lora_unet_img_emb_proj_3.lora_up.weight", "img_emb.proj.3.weight"),
        ("diffusion_model.img_emb.proj.4.diff_b", "img_emb.proj.4.weight"),
    ],
)
def test_names_of_what_reads_a_picture(key: str, weight: str) -> None:
    config = DiTConfig(num_layers=2, cameras=False, image_channels=20, clip_dim=1280)
    assert set(lora_layers([key], dit_shapes(config)).values()) == {weight}


@pytest.mark.parametrize(
    "key",
    [
        "transformer.blocks.12.attn1.to_q.lora_A.weight",  # a deeper model
        "transformer.transformer_blocks.0.attn1.to_q.lora_A.weight",
        "blocks.0.cross_attn.k_img.lora_down.weight",
        "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha",
        "text_encoder.blocks.0.attn1.to_q.lora_A.weight",
        "alpha",
        "",
    ],
)
def test_names_of_something_else(key: str) -> None:
    assert lora_layers([key], WEIGHTS) == {}


def test_every_layer_has_its_own_name_in_every_notation() -> None:
    layers = [name.removesuffix(".weight") for name in dit_shapes(DiTConfig(num_layers=12))]
    native = {
        layer: f"diffusion_model.{name}"
        for layer, name in zip(layers, dit_shapes(DiTConfig(num_layers=12)), strict=True)
    }
    theirs = {
        name.removesuffix(".weight"): weight for name, weight in dit_to_diffusers({w: w for w in WEIGHTS}).items()
    }
    for names in (native, theirs):
        dotted = {f"transformer.{layer}": weight for layer, weight in names.items()}
        assert dotted.items() <= lora_layers([f"{layer}.diff" for layer in dotted], WEIGHTS).items()
        flat = {f"lora_unet_{layer.replace('.', '_')}": weight for layer, weight in names.items()}
        assert lora_layers([f"{layer}.alpha" for layer in flat], WEIGHTS) == flat
