"""LoRAs through the host's loader: a walk with one equals a walk with weights that it was merged into by hand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.lora
import comfy.sd
import torch
from torch import Tensor
from workbench import (
    close,
    differ,
    engine_latents,
    latents_of,
    load,
    pack,
    random_file,
    random_state,
    require,
    same,
    small_config,
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
    return load(random_file("for_lora.safetensors", small_config()))


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


def diffusers_names(prefix: str) -> Callable[[dict[str, Pair]], dict[str, Tensor]]:
    """The keys of PEFT under the names that diffusers has for the layers."""

    def keys(pairs: dict[str, Pair]) -> dict[str, Tensor]:
        return peft(diffusers(pairs), prefix)

    return keys


def diffusers(pairs: dict[str, Pair]) -> dict[str, Pair]:
    named = pack("hyworld.weights").dit_to_diffusers({f"{layer}.weight": pair for layer, pair in pairs.items()})
    return {name.removesuffix(".weight"): pair for name, pair in named.items()}


def flattened(prefix: str, keys: dict[str, Tensor]) -> dict[str, Tensor]:
    """Kohya's keys under another prefix."""
    return {prefix + key.removeprefix("lora_unet_"): tensor for key, tensor in keys.items()}


NAMINGS: dict[str, Callable[[dict[str, Pair]], dict[str, Tensor]]] = {
    **{
        f"{prefix or 'no '}prefix, {kind}": names
        for prefix in (
            "transformer.",
            "diffusion_model.",
            "base_model.model.",
            "unet.",
            "base_model.model.transformer.",
            "",
        )
        for kind, names in (
            ("diffusers", diffusers_names(prefix)),
            ("native", lambda pairs, prefix=prefix: peft(pairs, prefix)),
        )
    },
    **{
        f"{prefix}, {kind}": names
        for prefix in ("lora_unet_", "lora_unet__", "lora_transformer_", "lycoris_")
        for kind, names in (
            ("diffusers", lambda pairs, prefix=prefix: flattened(prefix, kohya(diffusers(pairs)))),
            ("native", lambda pairs, prefix=prefix: flattened(prefix, kohya(pairs))),
        )
    },
    "lora.up, diffusers": lambda pairs: {
        key.replace(".lora_A.", ".lora.down.").replace(".lora_B.", ".lora.up."): tensor
        for key, tensor in diffusers_names("transformer.")(pairs).items()
    },
}
"""How trainers name the tensors of one LoRA."""


def patched(model: Any) -> dict[str, Tensor]:
    """The weights that the host computes from a MODEL's patches."""
    state = model.model.state_dict()
    return {
        key: comfy.lora.calculate_weight(patches, state[key].clone(), key) for key, patches in model.patches.items()
    }


def patched_as_merged(model: Any, state: dict[str, Tensor], pairs: dict[str, Pair], what: str) -> str:
    """Evidence that the host computes the weights of `state` with `pairs` merged into them."""
    weights, exact = patched(model), merged(state, pairs)
    require(len(weights) == len(pairs), f"{what}: {len(weights)} patches")
    return " ".join(
        close(weights[f"diffusion_model.{layer}.weight"], exact[f"{layer}.weight"], 1e-5, f"{layer} by {what}")
        for layer in pairs
    )


def check_every_naming_gives_the_same_weights() -> str:
    plain, pairs = small_model(), low_rank()
    exact = patched(with_lora(plain, peft(pairs)))
    require(len(exact) == len(LAYERS), "the native names patch every layer")
    for naming, names in NAMINGS.items():
        keys = names(pairs)
        with warnings_of_the_host() as warned:
            changed = with_lora(plain, keys)
        require(not warned, f"{naming}: the host knows every key, it warned of {warned}")
        require(not notes(changed), f"{naming}: nothing to say, found {notes(changed)}")
        weights = patched(changed)
        require(weights.keys() == exact.keys(), f"{naming}: the same weights are patched")
        for key, weight in exact.items():
            same(weights[key], weight, f"{naming}: {key}")
    walked = latents_of(with_lora(plain, NAMINGS["transformer.prefix, diffusers"](pairs)))
    return f"{len(NAMINGS)} namings of {len(exact)} weights; " + same(
        walked, latents_of(with_lora(plain, peft(pairs))), "a walk with diffusers' names and with native ones"
    )


def check_differences_under_diffusers_names() -> str:
    """As lightx2v writes them: .diff of a weight and .diff_b of its bias."""
    plain = small_model()
    state = plain.model.state_dict()
    weight, bias = (f"diffusion_model.blocks.1.ffn.0.{leaf}" for leaf in ("weight", "bias"))
    norm = "diffusion_model.blocks.0.norm3.weight"
    layer = "blocks.1.ffn.net.0.proj"
    keys = {
        f"{layer}.diff": torch.full(state[weight].shape, 0.5),
        f"{layer}.diff_b": torch.full(state[bias].shape, 0.25),
        "blocks.0.norm2.diff": torch.ones(state[norm].shape),
    }
    changed = with_lora(plain, keys, 1.0)
    require(not notes(changed), f"nothing to say, found {notes(changed)}")
    weights = patched(changed)
    same(weights[weight], state[weight] + 0.5, "the weight")
    require(torch.equal(weights[norm], state[norm] + 1), "the norm, which diffusers counts otherwise")
    return same(weights[bias], state[bias] + 0.25, "the bias")


def check_other_networks_get_what_they_got() -> str:
    """The wrapper asks for a weight that no other network has."""
    names = {"diffusion_model.blocks.0.self_attn.q": "diffusion_model.blocks.0.self_attn.q.weight"}
    lora = diffusers_names("transformer.")(low_rank(LAYERS[:1]))
    require(
        not comfy.lora.load_lora(lora, names), "diffusers' names of a plain Wan mean nothing to the host, as before"
    )
    native = peft(low_rank(LAYERS[:1]))
    (patch,) = comfy.lora.load_lora(native, names).values()
    require(not hasattr(patch, "hyworld_file"), "and its patches are the host's own")
    pack("nodes.host.lora").know_more_names()
    return require(not hasattr(comfy.lora.load_lora.__wrapped__, "__wrapped__"), "wrapped once, however often asked")


def notes(model: Any) -> list[str]:
    return pack("nodes.host.lora").lora_notes(model)


def one(sentences: list[str], *fragments: str) -> str:
    """The only sentence, if it holds the fragments."""
    require(len(sentences) == 1, f"one sentence: {sentences}")
    for fragment in fragments:
        require(fragment in sentences[0], f"{fragment!r} in: {sentences[0]}")
    return sentences[0]


def elsewhere(tensors: int = 3) -> dict[str, Tensor]:
    """Tensors for layers that this network lacks, as image-to-video LoRAs of Wan 2.1 have them."""
    return {f"diffusion_model.blocks.0.cross_attn.k_img{i}.lora_up.weight": torch.ones(2, 2) for i in range(tensors)}


def check_what_a_lora_does_not_change_is_told() -> str:
    plain, fits = small_model(), peft(low_rank())
    require(not notes(plain), "nothing about a MODEL without a LoRA")
    require(not notes(with_lora(plain, fits)), "nothing about a LoRA that fits")
    evidence = [one(notes(with_lora(plain, elsewhere())), "A LoRA changes nothing: none of its tensors has a place")]
    both = with_lora(with_lora(plain, elsewhere()), fits)
    evidence.append(one(notes(both), "A LoRA changes nothing"))
    both = with_lora(with_lora(plain, fits), elsewhere())
    evidence.append(one(notes(both.clone()), "A LoRA changes nothing"))
    part = with_lora(plain, {**fits, **elsewhere()})
    told = f"3 of its {len(fits) + 3} tensors have no place in this network, such as {next(iter(elsewhere()))}."
    evidence.append(one(notes(part), told))
    require(not notes(plain), "still nothing about the MODEL that they were made from")
    return " | ".join(evidence)


def check_part_of_a_file_of_differences_is_told() -> str:
    plain = small_model()
    weight = plain.model.state_dict()["diffusion_model.blocks.0.ffn.0.weight"]
    keys = {"diffusion_model.blocks.0.ffn.0.diff": torch.ones(weight.shape), "diffusion_model.img_emb.diff": weight}
    changed = with_lora(plain, keys, 1.0)
    same(patched(changed)["diffusion_model.blocks.0.ffn.0.weight"], weight + 1, "the difference that fits")
    return one(notes(changed), "1 of its 2 tensors have no place in this network, such as diffusion_model.img_emb.diff")


def check_a_lora_of_another_size_is_told() -> str:
    """The host says so only in its log, and leaves the weights as they are."""
    plain = small_model()
    large = peft(low_rank(config=small_config(num_heads=4)))
    changed = with_lora(plain, large)
    state = plain.model.state_dict()
    for key, weight in patched(changed).items():
        same(weight, state[key], key)
    return one(
        notes(changed), "A LoRA is for a model of another size: 8 of the 8 weights", "[128, 128] there", "[64, 64]"
    )


def check_a_lora_on_modulation_is_told() -> str:
    plain = small_model()
    key = "diffusion_model.blocks.0.modulation"
    keys = {f"{key}.diff": torch.ones(plain.model.state_dict()[key].shape)}
    changed = with_lora(plain, keys)
    same(latents_of(changed), latents_of(plain), "a walk with a LoRA on a modulation table and without")
    return one(notes(changed), "1 modulation tables, which ComfyUI leaves as they are")


def check_the_sampler_says_what_a_lora_does_not_change() -> str:
    """Once per walk."""
    with warnings_of_the_host() as warned:
        latents_of(with_lora(small_model(), elsewhere()))
    return one([line for line in warned if "HY-WorldPlay" in line], "LoRA changes nothing")
