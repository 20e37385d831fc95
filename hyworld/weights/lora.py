"""Names of the transformer's layers in LoRA files: native or diffusers', with dots or underscores."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .remap import clean_key, dit_to_diffusers

_WRAPPINGS = re.compile(
    r"(?:(?:base_model\.model|diffusion_model|transformer|unet|model|module)\.|(?:lora_unet|lora_transformer|lycoris)_+)*"
)
"""Prefixes of PEFT, diffusers and ComfyUI with dots; of kohya, OneTrainer and SimpleTuner with underscores."""


def lora_layers(keys: Iterable[str], weights: Iterable[str]) -> dict[str, str]:
    """Which weight each layer of a LoRA file changes: {the layer as the file names it: the weight}.

    keys: the file's tensors, such as `transformer.blocks.0.attn1.to_q.lora_A.weight`.
    weights: native names, such as `diffusion_model.blocks.0.self_attn.q.weight`.
    """
    known: dict[str, str] = {}
    for theirs, weight in dit_to_diffusers({weight: weight for weight in weights}).items():
        for name in (theirs, clean_key(weight)):
            layer = name.removesuffix(".weight")
            known[layer] = known[layer.replace(".", "_")] = weight
    # Where a key's layer ends and its suffix begins is not marked, so every beginning is tried.
    beginnings = (key[: dot.start()] for key in keys for dot in re.finditer(r"\.", key))
    bare = {name: _WRAPPINGS.sub("", name, count=1) for name in beginnings}
    return {name: known[layer] for name, layer in bare.items() if layer in known}
