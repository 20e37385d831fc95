"""fp8 products in the host: the layers they reach, however the host keeps their weights, and the engine's numbers.

A CPU has no fp8 units, so the loader refuses them there: the checks switch them on by hand, and the factors, rounded to
fp8, are multiplied in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from checks_loading import scaled_fp8_file
from checks_lora import low_rank, merged, peft, with_lora
from comfy_api.torch_helpers import set_torch_compile_wrapper
from torch import Tensor
from workbench import (
    close,
    differ,
    difference,
    latents_of,
    load,
    network_of,
    pack,
    random_state,
    require,
    small_config,
    walked_alone,
    write_state,
)

WIDTH = 256
"""Products at least so wide count here: those of the blocks, but neither the head's nor the embeddings'."""

SIZE = (128, 64)
"""In pixels: 32 tokens in the 4 latents of a forward, which is an eighth of `WIDTH`."""

PRODUCTS = 9
"""Of a block in a forward: q, k, v, o, o_prope; q, o of the text's attention; two of the FFN."""

FORWARDS = 9
"""Of two chunks: four steps, a prefill, four steps."""


def wide() -> Any:
    return small_config(num_heads=8, ffn_dim=WIDTH)


def expected(config: Any) -> int:
    """Products of two chunks; the prefill leaves all of its last block out but k and v."""
    return FORWARDS * PRODUCTS * config.num_layers - (PRODUCTS - 2)


@contextmanager
def in_fp8(model: Any, width: int = WIDTH) -> Iterator[list[tuple[int, ...]]]:
    """Have the products of `model` in fp8, and list the weights' shapes."""
    fp8, module = pack("hyworld.fp8"), pack("nodes.host.fp8")
    multiply, least, shapes = module.multiply, module._LEAST_WIDTH, []

    def counted(x: Tensor, x_scale: Tensor, weight: Tensor, *rest: Any) -> Tensor:
        shapes.append(tuple(weight.shape))
        return multiply(x, x_scale, weight, *rest)

    module.multiply, module._LEAST_WIDTH, model.model.fp8_rounding = counted, width, fp8.quantise_rows
    try:
        yield shapes
    finally:
        module.multiply, module._LEAST_WIDTH, model.model.fp8_rounding = multiply, least, None


def walked_in_fp8(model: Any, what: str) -> Tensor:
    """Latents of two chunks in fp8, every product of the blocks being one."""
    config = model.model.diffusion_model.config
    with in_fp8(model) as shapes:
        latents = latents_of(model, size=SIZE)
    require(len(shapes) == expected(config), f"{what}: {expected(config)} products in fp8, {len(shapes)} were")
    require(min(map(min, shapes)) >= WIDTH, f"{what}: the products of the blocks alone, {sorted(set(shapes))}")
    return latents


def engine_in_fp8(config: Any, state: dict[str, Tensor]) -> Tensor:
    """The same walk by the engine over its own fp8 layers; the text's keys and values, once per walk, stay exact."""
    network, exact = network_of(config, state), network_of(config, state)
    pack("hyworld.fp8").use_fp8(network)
    network.text_keys_values = exact.text_keys_values
    return walked_alone(network, (SIZE[0] // 16, SIZE[1] // 16), "w-3, right-4")


def check_every_large_product_and_the_engines_numbers() -> str:
    config = wide()
    state = random_state(config)
    model = load(write_state("for_fp8.safetensors", state, config))
    exact = latents_of(model, size=SIZE)
    got = walked_in_fp8(model, "float32 weights")
    return " ".join(
        (
            close(got, engine_in_fp8(config, state), difference(got, exact) / 10, "the host's fp8 and the engine's"),
            differ(got, exact, "fp8 and exact"),
            close(latents_of(model, size=SIZE), exact, 0.0, "afterwards and before"),
        )
    )


def check_however_the_weights_are_kept() -> str:
    config = wide()
    file = write_state("for_fp8.safetensors", random_state(config), config)
    found = []
    for weight_dtype in ("bf16", "fp16", "fp8_e4m3fn"):
        model = load(file, weight_dtype)
        exact = latents_of(model, size=SIZE)
        found.append(
            close(walked_in_fp8(model, weight_dtype), exact, 0.2, f"{weight_dtype}, fp8 and exact", least=1e-4)
        )
    return " ".join(found)


def check_a_scaled_fp8_file() -> str:
    config = wide()
    name, _ = scaled_fp8_file("scaled_wide.safetensors", config)
    model = load(name)
    exact = latents_of(model, size=SIZE)
    return close(walked_in_fp8(model, "scaled fp8"), exact, 0.2, "scaled fp8, fp8 and exact", least=1e-4)


def check_a_lora() -> str:
    config = wide()
    state, pairs = random_state(config), low_rank(config=config)
    plain = load(write_state("for_fp8.safetensors", state, config))
    without = walked_in_fp8(plain, "without a LoRA")
    got, want = walked_in_fp8(with_lora(plain, peft(pairs)), "with a LoRA"), engine_in_fp8(config, merged(state, pairs))
    near = close(got, want, difference(got, without) / 10, "a LoRA in fp8, and the engine's fp8 with it merged in")
    return f"{near} {differ(got, without, 'with a LoRA and without')}"


def check_compiled_the_numbers_stay() -> str:
    config = wide()
    model = load(write_state("for_fp8.safetensors", random_state(config), config))
    plain = walked_in_fp8(model, "not compiled")
    torch.compiler.reset()
    with torch.inference_mode():
        compiled = model.clone()
        set_torch_compile_wrapper(compiled, backend="eager")
    exact = latents_of(compiled, size=SIZE)
    got = walked_in_fp8(compiled, "compiled")
    return close(got, plain, difference(exact, plain) / 10, "fp8 compiled and not")
