"""Names of the transformer's tensors: the released (diffusers-style) ones and ours (Wan-native).

Sources: WorldPlay `wan/generate.py` (prefixes), diffusers' `transformer_wan.py` and Wan 2.2 `wan/modules/model.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from ..errors import InputError

T = TypeVar("T")

_WRAPPERS = frozenset({"_fsdp_wrapped_module", "_orig_mod", "_checkpoint_wrapped_module"})
_PREFIXES = frozenset({"model", "diffusion_model", "module"})

# (native, diffusers) without the leaf (.weight, .bias, …); `blocks.N.` precedes the second group.
_OUTSIDE_BLOCKS = (
    ("patch_embedding", "patch_embedding"),
    ("text_embedding.0", "condition_embedder.text_embedder.linear_1"),
    ("text_embedding.2", "condition_embedder.text_embedder.linear_2"),
    ("time_embedding.0", "condition_embedder.time_embedder.linear_1"),
    ("time_embedding.2", "condition_embedder.time_embedder.linear_2"),
    ("time_projection.1", "condition_embedder.time_proj"),
    ("action_embedding.0", "condition_embedder.action_embedder.linear_1"),
    ("action_embedding.2", "condition_embedder.action_embedder.linear_2"),
    ("img_emb.proj.0", "condition_embedder.image_embedder.norm1"),
    ("img_emb.proj.1", "condition_embedder.image_embedder.ff.net.0.proj"),
    ("img_emb.proj.3", "condition_embedder.image_embedder.ff.net.2"),
    ("img_emb.proj.4", "condition_embedder.image_embedder.norm2"),
    ("head.head", "proj_out"),
    ("head.modulation", "scale_shift_table"),
)
_INSIDE_BLOCKS = (
    ("modulation", "scale_shift_table"),
    # The norm before cross-attention: Wan counts it third, diffusers second.
    ("norm3", "norm2"),
    ("self_attn.q", "attn1.to_q"),
    ("self_attn.k", "attn1.to_k"),
    ("self_attn.v", "attn1.to_v"),
    ("self_attn.o", "attn1.to_out.0"),
    ("self_attn.o_prope", "attn1.to_out_prope.0"),
    ("self_attn.norm_q", "attn1.norm_q"),
    ("self_attn.norm_k", "attn1.norm_k"),
    ("cross_attn.q", "attn2.to_q"),
    ("cross_attn.k", "attn2.to_k"),
    ("cross_attn.v", "attn2.to_v"),
    ("cross_attn.o", "attn2.to_out.0"),
    ("cross_attn.norm_q", "attn2.norm_q"),
    ("cross_attn.norm_k", "attn2.norm_k"),
    ("cross_attn.k_img", "attn2.add_k_proj"),
    ("cross_attn.v_img", "attn2.add_v_proj"),
    ("cross_attn.norm_k_img", "attn2.norm_added_k"),
    ("ffn.0", "ffn.net.0.proj"),
    ("ffn.2", "ffn.net.2"),
)

_TO_NATIVE = {
    **{("", theirs): ours for ours, theirs in _OUTSIDE_BLOCKS},
    **{("blocks", theirs): ours for ours, theirs in _INSIDE_BLOCKS},
}
_TO_DIFFUSERS = {(scope, ours): theirs for (scope, theirs), ours in _TO_NATIVE.items()}

# Leaves besides weight and bias come from quantised files (see `fp8`).
_KEY = re.compile(
    r"(?P<block>blocks\.\d+\.)?(?P<part>.+?)"
    r"(?P<leaf>\.(?:weight|bias|scale_weight|weight_scale|scale_input|input_scale|comfy_quant))?"
)


def clean_key(key: str) -> str:
    """`key` without wrapper names (such as `_orig_mod`) and leading `model.`, `diffusion_model.` and `module.`."""
    parts = [part for part in key.split(".") if part not in _WRAPPERS]
    start = next((i for i, part in enumerate(parts) if part not in _PREFIXES), 0)
    return ".".join(parts[start:])


def dit_to_native(state: Mapping[str, T]) -> dict[str, T]:
    """The tensors under Wan-native names, others passed on cleaned; raises `InputError` if two get one name."""
    return _renamed(state, _TO_NATIVE)


def dit_to_diffusers(state: Mapping[str, T]) -> dict[str, T]:
    """Inverse of `dit_to_native`: the released names."""
    return _renamed(state, _TO_DIFFUSERS)


def _renamed(state: Mapping[str, T], table: Mapping[tuple[str, str], str]) -> dict[str, T]:
    renamed: dict[str, T] = {}
    for key, tensor in state.items():
        name = _renamed_key(clean_key(key), table)
        if name in renamed:
            raise InputError(f"The checkpoint holds {name} twice (again as {key}): give one with a single model in it.")
        renamed[name] = tensor
    return renamed


def _renamed_key(key: str, table: Mapping[tuple[str, str], str]) -> str:
    match = _KEY.fullmatch(key)
    if match is None:
        return key
    block, part, leaf = match["block"] or "", match["part"], match["leaf"] or ""
    return block + table.get(("blocks" if block else "", part), part) + leaf
