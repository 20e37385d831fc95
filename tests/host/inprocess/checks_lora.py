"""LoRAs through the host's loader: a walk with one equals a walk with weights that it was merged into by hand."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.sd
import torch
from torch import Tensor
from workbench import (
    close,
    differ,
    engine_latents,
    latents_of,
    load,
    random_state,
    require,
    same,
    small_config,
    write_state,
)

RANK = 4
ALPHA = 2.0
STRENGTH = 0.75

LAYERS = (
    "blocks.0.self_attn.q",
    "blocks.1.self_attn.v",
    "blocks.2.self_attn.o",
    "blocks.1.self_attn.o_prope",
    "blocks.0.cross_attn.k",
    "blocks.2.cross_attn.o",
    "blocks.1.ffn.0",
    "blocks.2.ffn.2",
)
"""One of each kind of layer that LoRAs are made for, in different blocks."""

Pair = tuple[Tensor, Tensor]


def low_rank(layers: tuple[str, ...] = LAYERS, config: Any = None) -> dict[str, Pair]:
    """Random (down, up) of every layer, as large as the weights they change."""
    generator = torch.Generator().manual_seed(9)
    shapes = {name: tensor.shape for name, tensor in random_state(config or small_config()).items()}
    return {
        layer: (
            torch.randn(RANK, shapes[f"{layer}.weight"][1], generator=generator) * 0.2,
            torch.randn(shapes[f"{layer}.weight"][0], RANK, generator=generator) * 0.2,
        )
        for layer in layers
    }


def peft(pairs: dict[str, Pair], prefix: str = "diffusion_model.") -> dict[str, Tensor]:
    """The keys that PEFT and diffusers write."""
    keys = {f"{prefix}{layer}.lora_A.weight": down for layer, (down, _) in pairs.items()}
    keys |= {f"{prefix}{layer}.lora_B.weight": up for layer, (_, up) in pairs.items()}
    return keys | {f"{prefix}{layer}.alpha": torch.tensor(ALPHA) for layer in pairs}


def kohya(pairs: dict[str, Pair]) -> dict[str, Tensor]:
    """The keys that kohya's and musubi's trainers write."""
    names = {layer: f"lora_unet_{layer.replace('.', '_')}" for layer in pairs}
    keys = {f"{names[layer]}.lora_down.weight": down for layer, (down, _) in pairs.items()}
    keys |= {f"{names[layer]}.lora_up.weight": up for layer, (_, up) in pairs.items()}
    return keys | {f"{names[layer]}.alpha": torch.tensor(ALPHA) for layer in pairs}


def merged(state: dict[str, Tensor], pairs: dict[str, Pair], strength: float = STRENGTH) -> dict[str, Tensor]:
    """The weights with the LoRA in them: W + strength * alpha / rank * up @ down."""
    changed = dict(state)
    for layer, (down, up) in pairs.items():
        changed[f"{layer}.weight"] = state[f"{layer}.weight"] + strength * ALPHA / RANK * (up @ down)
    return changed


def with_lora(model: Any, keys: dict[str, Tensor], strength: float = STRENGTH) -> Any:
    """What the core node Load LoRA makes of the model."""
    with torch.inference_mode():
        changed, _ = comfy.sd.load_lora_for_models(model, None, keys, strength, 0.0)
    return changed


def small_model() -> Any:
    config = small_config()
    return load(write_state("for_lora.safetensors", random_state(config), config))


@contextmanager
def warnings_of_the_host() -> Iterator[list[str]]:
    """The warnings logged meanwhile."""
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    collect = Collect(logging.WARNING)
    logging.getLogger().addHandler(collect)
    try:
        yield lines
    finally:
        logging.getLogger().removeHandler(collect)


def equals_merging(keys: dict[str, Tensor], pairs: dict[str, Pair], what: str) -> str:
    config, state = small_config(), random_state(small_config())
    plain = small_model()
    with warnings_of_the_host() as warned:
        changed = with_lora(plain, keys)
    require(not warned, f"the host knows every key, it warned of {warned}")
    require(len(changed.patches) == len(pairs), f"{len(pairs)} weights are patched, found {len(changed.patches)}")
    walked = latents_of(changed)
    moved = differ(walked, engine_latents(config, state), f"{what} changes the walk", least=0.05)
    exact = close(walked, engine_latents(config, merged(state, pairs)), 1e-5, f"{what} and merging by hand")
    back = same(latents_of(plain), engine_latents(config, state), "afterwards the MODEL without it")
    return f"{moved} {exact} {back}"


def check_lora_a_and_b() -> str:
    return equals_merging(peft(low_rank()), low_rank(), "lora_A and lora_B")


def check_lora_up_and_down() -> str:
    return equals_merging(kohya(low_rank()), low_rank(), "lora_up and lora_down")


def check_each_kind_of_layer_alone() -> str:
    """Of a sum, one layer could be missing unnoticed."""
    model, state, config = small_model(), random_state(small_config()), small_config()
    plain = engine_latents(config, state)
    evidence = []
    for layer in LAYERS:
        pairs = low_rank((layer,))
        walked = latents_of(with_lora(model, peft(pairs)))
        differ(walked, plain, f"LoRA on {layer} alone", least=1e-4)
        evidence.append(close(walked, engine_latents(config, merged(state, pairs)), 1e-5, layer))
    return " ".join(evidence)


def check_two_loras_add_up() -> str:
    config, state = small_config(), random_state(small_config())
    first, second = low_rank(LAYERS[:4]), low_rank(LAYERS[2:])
    model = with_lora(with_lora(small_model(), peft(first)), kohya(second), -0.5)
    exact = engine_latents(config, merged(merged(state, first), second, -0.5))
    return close(latents_of(model), exact, 1e-5, "two LoRAs, one of negative strength, and merging both by hand")


def check_keys_without_a_prefix_match_nothing_which_can_be_told() -> str:
    """The host's own limit. What is left to see: a model whose patches were touched, and yet has none."""
    plain = small_model()
    keys = peft(low_rank(), prefix="")
    with warnings_of_the_host() as warned:
        changed = with_lora(plain, keys)
    unknown = [line for line in warned if line.startswith("lora key not loaded")]
    require(len(unknown) == len(keys), f"the host warns of each of the {len(keys)} keys in its log: {unknown}")
    require(not changed.patches and changed.patches_uuid != plain.patches_uuid, "no patches, but another patches_uuid")
    return same(latents_of(changed), latents_of(plain), "a walk with a LoRA that matches nothing and one without")


def check_the_sampler_says_that_a_lora_changes_nothing() -> str:
    """Once per walk and only then; a LoRA that fits is counted, a model without one is passed over in silence."""
    plain = small_model()

    def said(model: Any) -> list[str]:
        with warnings_of_the_host() as warned:
            latents_of(model)
        return [line for line in warned if "the LoRA changes nothing" in line]

    require(len(said(with_lora(plain, peft(low_rank(), prefix="")))) == 1, "one warning for keys that fit nothing")
    require(not said(with_lora(plain, peft(low_rank()))), "no warning for a LoRA that fits")
    require(not said(plain), "no warning without a LoRA")
    return "a warning for a LoRA that fits nothing, none for one that fits or for none at all"
