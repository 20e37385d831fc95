"""fp8 linears in the host: rounded once, wherever it moves them and whatever it adds to them; the engine's numbers.

A CPU has no fp8 units, so the loader refuses them there: the checks take that refusal out, and the factors, rounded to
fp8, are multiplied in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management
import torch
from checks_loading import scaled_fp8_file
from checks_lora import low_rank, merged, peft, with_lora
from checks_saving import saved
from checks_wrappers import Recorder
from comfy_api.torch_helpers import set_torch_compile_wrapper
from safetensors.torch import load_file
from torch import Tensor
from workbench import (
    close,
    counted,
    differ,
    difference,
    latents_of,
    load,
    model_file,
    network_of,
    pack,
    random_file,
    random_state,
    require,
    same,
    small_config,
    walked_alone,
    write_state,
)

WIDTH = 128
"""Of the network. A weight has so many rows or more, an input of `SIZE` fewer."""

SIZE = (128, 64)
"""In pixels: 32 tokens in the 4 latents of a forward."""

LAYERS = 11
"""Linears of a block."""


def wide() -> Any:
    return small_config(num_heads=4, ffn_dim=2 * WIDTH)


class Rounding:
    """`quantise_rows`, which counts the weights it is given."""

    def __init__(self) -> None:
        self.weights = 0

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.weights += len(x) >= WIDTH
        return pack("hyworld.fp8").quantise_rows(x)


@contextmanager
def rounded_by(rounding: Any) -> Iterator[None]:
    module = pack("nodes.host.model")
    names = ("check_modes", "fp8_rounding")
    kept = [getattr(module, name) for name in names]
    module.check_modes = lambda *_: None
    module.fp8_rounding = lambda modes: None if modes.linears == "exact" else rounding
    try:
        yield
    finally:
        for name, function in zip(names, kept, strict=True):
            setattr(module, name, function)


def load_in_fp8(name: str, weight_dtype: str = "default") -> tuple[Any, Rounding]:
    """MODEL with its linears in fp8, and what has rounded them."""
    rounding = Rounding()
    with rounded_by(rounding):
        return load(name, weight_dtype, linears="fp8"), rounding


def a_file(config: Any) -> str:
    return random_file("for_fp8.safetensors", config)


def engine_in_fp8(network: Any) -> Tensor:
    """The same walk by the engine, over a network of its own."""
    return walked_alone(network, (SIZE[0] // 16, SIZE[1] // 16), "w-3, right-4")


def engine_of(config: Any, state: dict[str, Tensor]) -> Any:
    network = network_of(config, state)
    pack("hyworld.fp8").use_fp8(network)
    return network


@contextmanager
def offloaded(model: Any, share: float) -> Iterator[None]:
    """Let the host load only this share of the weights; the others are patched on the fly, on a CPU where they are."""
    whole = model.partially_load

    def partially(device_to: Any, extra_memory: float = 0, force_patch_weights: bool = False) -> Any:
        left = share * model.model_size() - model.model.model_loaded_weight_memory
        return whole(device_to, extra_memory=max(left, 0.1), force_patch_weights=force_patch_weights)

    comfy.model_management.unload_all_models()
    model.partially_load = partially
    try:
        yield
    finally:
        del model.partially_load
        comfy.model_management.unload_all_models()


def check_rounded_once_with_the_engines_numbers() -> str:
    config = wide()
    exact = latents_of(load(a_file(config)), size=SIZE)
    model, rounding = load_in_fp8(a_file(config))
    require(
        rounding.weights == LAYERS * config.num_layers, f"every Linear is rounded while loading: {rounding.weights}"
    )
    got = latents_of(model, size=SIZE)
    with counted(model) as calls:  # and through the host's layers
        same(latents_of(model, size=SIZE), got, "forwards of the host's layers and the engine's")
    require(len(calls) == 9 and rounding.weights == LAYERS * config.num_layers, "and none in the forwards of two walks")
    expected = engine_in_fp8(engine_of(config, random_state(config)))
    return close(got, expected, 1e-5, "the host's fp8 and the engine's") + differ(got, exact, " fp8 and exact")


def check_half_of_bfloat16s_memory() -> str:
    file = a_file(wide())
    plain, (model, _) = load(file, "bf16"), load_in_fp8(file, "bf16")
    share = model.model_size() / plain.model_size()
    blocks = sum(
        weight.nbytes for name, weight in model.model.state_dict().items() if weight.dtype == torch.float8_e4m3fn
    )
    return require(share < 0.7 and blocks, f"of the bfloat16 model's size: {share:.2f}")


def check_however_the_weights_are_kept() -> str:
    file, found = a_file(wide()), []
    for weight_dtype in ("bf16", "fp16", "fp8_e4m3fn"):
        exact = latents_of(load(file, weight_dtype), size=SIZE)
        model, _ = load_in_fp8(file, weight_dtype)
        got = latents_of(model, size=SIZE)
        found.append(close(got, exact, 0.2, f"{weight_dtype}, fp8 and exact", least=1e-4))
    return " ".join(found)


def check_a_scaled_fp8_file_is_not_rounded_again() -> str:
    name, _ = scaled_fp8_file("scaled_wide.safetensors", wide())
    model, rounding = load_in_fp8(name)
    require(rounding.weights == 0, f"its weights stay as they are: {rounding.weights} were rounded")
    load_dit = pack("hyworld.weights").load_dit
    network = load_dit(model_file(name), dtype=torch.float32, fp8=pack("hyworld.fp8").quantise_rows)
    return close(latents_of(model, size=SIZE), engine_in_fp8(network), 1e-5, "scaled fp8, the host's and the engine's")


def check_a_lora_is_rounded_with_the_weight_and_goes_again() -> str:
    config = wide()
    state, pairs = random_state(config), low_rank(config=config)
    plain, rounding = load_in_fp8(a_file(config))
    without = latents_of(plain, size=SIZE)
    loaded = rounding.weights
    found = []
    for strength in (0.75, 0.25):
        patched = with_lora(plain, peft(pairs), strength=strength)
        got = latents_of(patched, size=SIZE)
        want = engine_in_fp8(engine_of(config, merged(state, pairs, strength)))
        found.append(close(got, want, 1e-5, f"a LoRA of {strength} and the engine's fp8 with it merged in"))
        found.append(differ(got, without, "with and without"))
        layer = patched.model.diffusion_model.blocks[0].self_attn.q
        held = layer.convert_weight(layer.weight.float())
        whole = merged(state, pairs, strength)["blocks.0.self_attn.q.weight"]
        found.append(close(held, whole, 0.05, "what a patched layer holds, and the weight with it merged in"))
    require(rounding.weights == loaded + 2 * len(pairs), f"each is rounded once: {rounding.weights - loaded}")
    found.append(same(latents_of(plain, size=SIZE), without, "without it afterwards and before"))
    return " ".join(found)


def check_a_lora_on_offloaded_layers() -> str:
    config = wide()
    state, pairs = random_state(config), low_rank(config=config)
    plain, rounding = load_in_fp8(a_file(config))
    patched = with_lora(plain, peft(pairs))
    want = engine_in_fp8(engine_of(config, merged(state, pairs)))
    loaded = rounding.weights
    with offloaded(patched, 0.0):
        got = latents_of(patched, size=SIZE)
    require(rounding.weights > loaded + 2 * len(pairs), "they are rounded anew in every forward")
    found = close(got, want, 1e-5, "a LoRA on offloaded layers, and merged in")
    return f"{found} {close(latents_of(patched, size=SIZE), want, 1e-5, 'then all loaded')}"


def check_an_offloaded_layer_is_fetched_as_it_is() -> str:
    model, _ = load_in_fp8(a_file(wide()))
    layer = model.model.diffusion_model.blocks[1].ffn[0]
    with layer._fetched(torch.device("cpu"), torch.bfloat16) as (weight, scale, bias):
        require(weight.dtype == layer.weight.dtype and torch.equal(scale, layer.scale_weight), "rows and scales")
        require(bias.dtype == torch.bfloat16, "the bias is cast")
        return same(weight.float(), layer.weight.float(), "its weight, fetched by the host and kept")


def check_unloaded_and_back() -> str:
    model, rounding = load_in_fp8(a_file(wide()))
    first, once = latents_of(model, size=SIZE), rounding.weights
    comfy.model_management.unload_all_models()
    again = latents_of(model, size=SIZE)
    require(rounding.weights == once, "nothing is rounded anew")
    return same(again, first, "a walk before and after everything was unloaded")


def check_saved_it_stays_as_rounded() -> str:
    """Loaded, and from the offload device with a LoRA that the host adds while it writes."""
    config = wide()
    plain, _ = load_in_fp8(a_file(config))
    patched = with_lora(plain, peft(low_rank(config=config)), strength=0.1)
    found = []
    for model, limit, name in ((plain, 1e-6, "saved_rows"), (patched, 0.05, "saved_rows_lora")):
        expected = latents_of(model, size=SIZE)
        if model is patched:
            comfy.model_management.unload_all_models()
        # Too narrow for its head size to be known: Save Model does not keep our metadata.
        state = load_file(model_file(saved(model, name)))
        again, rounding = load_in_fp8(write_state(f"{name}_with_sizes.safetensors", state, config))
        require(rounding.weights == 0, "it is read as it is")
        found.append(close(latents_of(again, size=SIZE), expected, limit, f"walks of {name}, before and after"))
    return " ".join(found)


def check_compiled_the_numbers_stay() -> str:
    with rounded_by(pack("hyworld.fp8").quantise_rows):
        model = load(a_file(wide()), linears="fp8")
    plain = latents_of(model, size=SIZE)
    torch.compiler.reset()
    recorder = Recorder()
    with torch.inference_mode():
        compiled = model.clone()
        set_torch_compile_wrapper(compiled, backend=recorder)
    exact = latents_of(load(a_file(wide())), size=SIZE)
    got = latents_of(compiled, size=SIZE)
    require(
        recorder.runs == 9 and recorder.graphs < 8, f"one graph per forward: {recorder.graphs}, {recorder.runs} runs"
    )
    return close(got, plain, difference(exact, plain) / 10, "fp8 compiled and not")
