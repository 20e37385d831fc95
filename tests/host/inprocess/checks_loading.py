"""Load HY-WorldPlay Model: which files become a MODEL, in which precision, and what is said about the others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import comfy.cli_args
import torch
from torch import Tensor
from workbench import (
    close,
    engine_latents,
    latents_of,
    load,
    load_tiny,
    model_file,
    network_of,
    pack,
    random_file,
    random_state,
    refused,
    require,
    same,
    small_config,
    walked_alone,
    wide_config,
    write_state,
)

MATRIX = "blocks.1.ffn.0.weight"


def check_the_tiny_entry_needs_no_file() -> str:
    tiny = pack("hyworld.builtin").dit(pack("hyworld.config").TINY_RANDOM)
    exact = engine_latents(tiny.config, tiny.state_dict())
    return same(latents_of(load_tiny()), exact, "walk of the tiny entry and the engine's")


def check_a_native_safetensors() -> str:
    config = small_config()
    state = random_state(config)
    model = load(write_state("native.safetensors", state, config))
    require(model.model.diffusion_model.config == config, "the sizes are those of the file")
    return same(latents_of(model), engine_latents(config, state), "walk of a native file and the engine's")


def check_a_diffusers_named_safetensors() -> str:
    config = small_config()
    state = random_state(config)
    named = pack("hyworld.weights").dit_to_diffusers(state)
    require("blocks.0.attn1.to_out_prope.0.weight" in named, "the file has the released names")
    model = load(write_state("diffusers.safetensors", named, config))
    return same(latents_of(model), engine_latents(config, state), "walk of a diffusers-named file and the engine's")


def check_a_released_model_pt() -> str:
    config = wide_config()
    state = random_state(config)
    named = {f"model.{name}": tensor for name, tensor in pack("hyworld.weights").dit_to_diffusers(state).items()}
    torch.save({"generator": named, "step": 1}, model_file("released.pt"))
    model = load("released.pt")
    require(model.model.diffusion_model.config.head_dim == 128, "a wide model has heads of 128 without saying so")
    return same(latents_of(model), engine_latents(config, state), "walk of a model.pt as released and the engine's")


def check_a_narrow_model_pt_says_what_is_unknown_and_loads_once_converted() -> str:
    shutil.copyfile(pack("hyworld.verify").REFERENCE / "model.pt", model_file("narrow.pt"))
    evidence = refused(lambda: load("narrow.pt"), "narrow.pt", "does not say how its width of 64 divides into heads")

    pack("hyworld.weights").convert(
        model_file("narrow.pt"), model_file("converted.safetensors"), dtype="fp32", head_dim=32
    )
    opened = pack("hyworld.weights").open_dit(model_file("converted.safetensors"))
    walked = latents_of(load("converted.safetensors"))
    return f"{evidence}; " + same(walked, engine_latents(opened.config, opened.state), "walk of the converted file")


def rounded(state: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: tensor.to(dtype).float() for name, tensor in state.items()}


def storage(weight_dtype: str, dtype: torch.dtype, limit: float) -> str:
    """Evidence that weights kept in `dtype` compute as their rounded values do, and that those are near the exact."""
    config = small_config()
    state = random_state(config)
    model = load(write_state(f"for_{weight_dtype}.safetensors", state, config), weight_dtype)
    weights = model.model.diffusion_model.state_dict()
    require(weights[MATRIX].dtype == dtype, f"the matrices are kept in {dtype}, as {weights[MATRIX].dtype}")
    walked = latents_of(model)
    near = close(walked, engine_latents(config, state), limit, f"{weight_dtype} beside float32", least=1e-5)
    return near + " " + same(walked, engine_latents(config, rounded(state, dtype)), f"{weight_dtype} and its rounding")


def bfloat16_on_this_cpu(multiplies: bool) -> AbstractContextManager[object]:
    return patch.object(pack("nodes.host.model"), "multiplies_bfloat16", lambda: multiplies)


def check_weights_kept_in_bf16() -> str:
    with bfloat16_on_this_cpu(False):
        return storage("bf16", torch.bfloat16, 0.02)


def check_bf16_computes_in_it_on_a_cpu_that_can() -> str:
    config = small_config()
    state = random_state(config)
    file = write_state("computed_in_bf16.safetensors", state, config)
    with bfloat16_on_this_cpu(True):
        walked = latents_of(load(file, "bf16"))
        with patch.object(comfy.cli_args.args, "fp32_unet", True):
            kept = latents_of(load(file, "bf16"))
        default = latents_of(load(file))
    exact, modes = engine_latents(config, state), pack("hyworld.modes")
    network = network_of(config, state).bfloat16()
    network.kernels = modes.network_kernels(modes.Modes(), torch.device("cpu"))
    return "; ".join(
        (
            close(walked, exact, 0.02, "bf16 beside float32", least=1e-5),
            same(walked, walked_alone(network, (4, 4), "w-3, right-4"), "walk in bf16 and the engine's"),
            same(kept, engine_latents(config, rounded(state, torch.bfloat16)), "with the host's --fp32-unet"),
            same(default, exact, "default and the engine's"),
        )
    )


def check_weights_kept_in_fp16() -> str:
    return storage("fp16", torch.float16, 0.005)


def check_weights_kept_in_fp8() -> str:
    return storage("fp8_e4m3fn", torch.float8_e4m3fn, 0.3)


def check_default_leaves_a_bf16_file_to_the_hosts_choice() -> str:
    config = small_config()
    state = {name: tensor.bfloat16() for name, tensor in random_state(config).items()}
    model = load(write_state("stored_bf16.safetensors", state, config))
    dtypes = {tensor.dtype for tensor in model.model.diffusion_model.state_dict().values()}
    require(dtypes == {torch.float32}, f"on a CPU the host wants float32, found {dtypes}")
    exact = engine_latents(config, rounded(random_state(config), torch.bfloat16))
    return same(latents_of(model), exact, "walk of a bf16 file as it is and the engine's with the same numbers")


def scaled_fp8_file(name: str = "scaled.safetensors", config: Any = None) -> tuple[str, dict[str, Tensor]]:
    """A scaled fp8 file as `hyworld convert --dtype fp8` writes it, and its weights multiplied out."""
    config = config or small_config()
    source = random_file(f"to_be_{name}", config)
    target = model_file(name)
    weights = pack("hyworld.weights")
    if not target.exists():
        weights.convert(model_file(source), target, dtype="fp8")
    opened = weights.open_dit(target)
    dequantise = pack("hyworld.fp8").dequantise
    return target.name, {
        name: dequantise(tensor, opened.scales.get(name), torch.float32) for name, tensor in opened.state.items()
    }


def check_scaled_fp8_runs_as_it_is() -> str:
    name, multiplied_out = scaled_fp8_file()
    model = load(name)
    matrix = model.model.diffusion_model.blocks[1].ffn[0].weight
    require(matrix.dtype == torch.float8_e4m3fn or type(matrix).__name__ == "QuantizedTensor", "matrices stay fp8")
    exact = engine_latents(small_config(), multiplied_out)
    return close(latents_of(model), exact, 1e-5, "scaled fp8 as it is, beside its weights multiplied out")


def other_scaling(name: str, quantise: Callable[[Tensor], tuple[Tensor, Tensor]]) -> str:
    """Evidence that a file whose matrices went through `quantise` (to fp8 and scale) computes with their product."""
    config = small_config()
    is_matrix = pack("hyworld.fp8").is_quantised_layer
    state, exact = random_state(config), {}
    for key in list(state):
        exact[key] = state[key]
        if is_matrix(key):
            state[key], scale = quantise(state[key])
            state[key.removesuffix("weight") + "scale_weight"] = scale
            exact[key] = state[key].float() * scale
    walked = latents_of(load(write_state(name, state, config)))
    return close(walked, engine_latents(config, exact), 0.005, name)


def check_fp8_scaled_in_ways_the_host_does_not_know() -> str:
    def per_row(weight: Tensor) -> tuple[Tensor, Tensor]:
        scale = weight.abs().amax(dim=1, keepdim=True) / 448
        return (weight / scale).to(torch.float8_e4m3fn), scale

    def wide_range(weight: Tensor) -> tuple[Tensor, Tensor]:
        scale = weight.abs().amax() / 50_000
        return (weight / scale).to(torch.float8_e5m2), scale

    return other_scaling("per_row.safetensors", per_row) + " " + other_scaling("e5m2.safetensors", wide_range)


def check_scaled_fp8_multiplied_out_into_bf16() -> str:
    name, multiplied_out = scaled_fp8_file()
    with bfloat16_on_this_cpu(False):
        model = load(name, "bf16")
    dtypes = {tensor.dtype for tensor in model.model.diffusion_model.state_dict().values()}
    require(dtypes == {torch.bfloat16}, f"everything is kept in bf16, found {dtypes}")
    exact = engine_latents(small_config(), rounded(multiplied_out, torch.bfloat16))
    return same(latents_of(model), exact, "scaled fp8 multiplied out into bf16, and the same by hand")


def base_state() -> dict[str, Tensor]:
    """A plain Wan 2.2 TI2V-5B, one layer of the smallest width: its 825 names, without what WorldPlay adds."""
    is_camera_tensor = pack("hyworld.weights.recognise").is_camera_tensor
    return {name: tensor for name, tensor in random_state(wide_config()).items() if not is_camera_tensor(name)}


def check_a_base_wan_model_follows_a_camera_only_if_asked() -> str:
    recognise = pack("hyworld.weights.recognise")
    full_size = recognise.dit_shapes(pack("hyworld.config").DiTConfig())
    require(sum(not recognise.is_camera_tensor(name) for name in full_size) == 825, "a full-size base has 825 tensors")
    state = base_state()
    write_state("base.safetensors", state)
    plain = load("base.safetensors").model
    require(not plain.diffusion_model.config.cameras, "without allow_base it has no camera tensors")
    require(plain.recipe(two=False).name == "ti2v_5b", "and is walked as what it is")

    absent = {name: torch.zeros(tensor.shape) for name, tensor in random_state(wide_config()).items()}
    walked = latents_of(load("base.safetensors", allow_base=True), "w-3")
    exact = engine_latents(wide_config(), {**absent, **state}, "w-3")
    return same(walked, exact, "with allow_base the walk has zeros for what is absent, and")


def check_other_files_are_named_for_what_they_are() -> str:
    def tensors(*shapes: tuple[str, tuple[int, ...]]) -> dict[str, Tensor]:
        return {name: torch.zeros(shape) for name, shape in shapes}

    control = base_state()
    control["patch_embedding.weight"] = torch.zeros(1536, 32, 1, 2, 2)
    control["head.head.weight"], control["head.head.bias"] = torch.zeros(64, 1536), torch.zeros(64)
    lora = {f"diffusion_model.blocks.0.self_attn.q.lora_{part}.weight": torch.zeros(4, 4) for part in "AB"}
    files = {
        "control": (control, "is another Wan model, such as a control model (32 channels in, 16 out)"),
        "vae": (tensors(("encoder.conv1.weight", (8, 12, 3, 3, 3)), ("decoder.head.0.gamma", (8,))), "is a VAE"),
        "t5": (
            tensors(("shared.weight", (32, 8)), ("encoder.block.0.layer.0.SelfAttention.q.weight", (8, 8))),
            "is a text encoder",
        ),
        "lora": (lora, "is a LoRA: load the model it was made for"),
    }
    for name, (state, _) in files.items():
        write_state(f"{name}.safetensors", state)
    return " | ".join(
        refused(lambda name=name: load(f"{name}.safetensors"), f"{name}.safetensors", verdict)
        for name, (_, verdict) in files.items()
    )


def check_a_missing_file_is_named() -> str:
    return refused(lambda: load("nowhere.safetensors"), "no file nowhere.safetensors", "models/diffusion_models")


def check_only_files_that_the_host_lists_are_opened() -> str:
    """An old host passes on whatever a prompt says."""
    folder = model_file("").parent
    (folder / "notes.txt").write_text("sk-verysecret")
    write_state("secret.safetensors", base_state(), folder="vae")
    (folder / "sub").mkdir(exist_ok=True)
    names = (
        "notes.txt",
        "../vae/secret.safetensors",
        "sub/../notes.txt",
        str(folder / "notes.txt"),
        "x" * 5000 + ".pt",
    )
    pick = pack("nodes.host.vae").pick_decoder
    evidence = []
    for name in names:
        told = refused(lambda name=name: load(name), "There is no file", "models/diffusion_models: put it there")
        evidence.append(require(len(told) < 200 and "sk-very" not in told, f"short and without content: {told}"))
        refused(lambda name=name: pick(name, None), "There is no file", "models/vae_approx: put it there")
    return " | ".join(evidence)


def check_errors_name_a_file_without_its_folder() -> str:
    folder = model_file("").parent
    lora = {f"diffusion_model.blocks.0.self_attn.q.lora_{part}.weight": torch.zeros(4, 4) for part in "AB"}
    write_state("named.safetensors", lora)
    write_state("taew2_2_named.safetensors", lora, folder="vae_approx")
    pick = pack("nodes.host.vae").pick_decoder
    told = [
        refused(lambda: load("named.safetensors"), "named.safetensors is a LoRA"),
        refused(lambda: pick("taew2_2_named.safetensors", None), "taew2_2_named.safetensors: This file is not a tiny"),
    ]
    require(not any(str(folder.parent) in sentence for sentence in told), f"no folder of the server: {told}")
    return " | ".join(told)


def check_a_model_pt_is_in_the_list() -> str:
    torch.save({"generator": {}}, model_file("listed.pt"))
    names = pack("nodes.host.model").model_names()
    return require("listed.pt" in names, f"a .pt file can be chosen: {names}")
