"""Changes other nodes make to a MODEL that a walk cannot follow, which the host's own samplers would."""

from __future__ import annotations

from typing import Any

import comfy.model_patcher
from comfy.patcher_extension import WrappersMP

_OBJECTS = {"model_sampling": "ModelSampling nodes have no effect: the schedule is that of the model's recipe."}
_GUIDANCE = "CFG and guidance nodes have no effect: a walk is guided as the model's recipe says."
_OPTIONS = {
    "sampler_cfg_function": _GUIDANCE,
    "sampler_pre_cfg_function": _GUIDANCE,
    "sampler_post_cfg_function": _GUIDANCE,
    "sampler_calc_cond_batch_function": _GUIDANCE,
    "model_function_wrapper": "A wrapper around the model has no effect: a walk runs APPLY_MODEL wrappers alone.",
    "denoise_mask_function": "Differential Diffusion has no effect: a walk has no denoise mask.",
    "context_handler": "Context windows have no effect: a walk goes chunk by chunk, with a memory of its own.",
}
_BLOCKS = "Attention and block patches have no effect: this network has none of the places that they change."
_TRANSFORMER_OPTIONS = {
    "patches": _BLOCKS,
    "patches_replace": _BLOCKS,
    "optimized_attention_override": "Another node's attention has no effect: choose it in Load HY-WorldPlay Model.",
    "rope_options": "RoPE options have no effect: positions in a walk are those of the training.",
}
_WRAPPERS = (
    "Wrappers around sampling, such as EasyCache, have no effect: the Streaming Sampler runs the network itself."
)


def idle_patches(patcher: comfy.model_patcher.ModelPatcher) -> list[str]:
    """A sentence for each kind of change to this MODEL that has no effect on a walk."""
    options = patcher.model_options
    transformer = options.get("transformer_options", {})
    places = ((patcher.object_patches, _OBJECTS), (options, _OPTIONS), (transformer, _TRANSFORMER_OPTIONS))
    found = [sentence for changes, table in places for name, sentence in table.items() if changes.get(name)]
    if any(_wraps(wrappers) for wrappers in (patcher.wrappers, transformer.get("wrappers", {}))):
        found.append(_WRAPPERS)
    return list(dict.fromkeys(found))


def _wraps(wrappers: dict[str, dict[Any, list[Any]]]) -> bool:
    """Whether there are wrappers of kinds that do not run in a walk."""
    return any(any(keys.values()) for kind, keys in wrappers.items() if kind != WrappersMP.APPLY_MODEL)
