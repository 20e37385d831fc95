"""Save Model, the core node: what it writes, our loader reads."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import comfy_extras.nodes_model_merging
import folder_paths
import torch
from checks_loading import scaled_fp8_file
from checks_lora import ALPHA, RANK, STRENGTH, peft, with_lora
from safetensors.torch import load_file
from torch import Tensor
from workbench import (
    close,
    latents_of,
    load,
    load_tiny,
    model_file,
    random_state,
    refused,
    require,
    same,
    wide_config,
    write_state,
)

LAYER = "blocks.0.self_attn.o_prope"


def saved(model: Any, name: str) -> str:
    """Run Save Model and put its file where the loader looks for it; returns the file's name."""
    with torch.inference_mode():
        comfy_extras.nodes_model_merging.ModelSave().save(model, f"diffusion_models/{name}")
    written = sorted((Path(folder_paths.get_output_directory()) / "diffusion_models").glob(f"{name}*.safetensors"))
    require(len(written) == 1, f"Save Model wrote one file: {written}")
    shutil.move(written[0], model_file(f"{name}.safetensors"))
    return f"{name}.safetensors"


def weights_of(model: Any) -> dict[str, Tensor]:
    return dict(model.model.diffusion_model.state_dict())


def check_a_saved_model_loads_with_the_same_tensors() -> str:
    state = random_state(wide_config())
    model = load(write_state("to_save.safetensors", state))
    again = load(saved(model, "saved"))
    found = weights_of(again)
    require(found.keys() == state.keys(), f"{len(state)} tensors come back, found {len(found)}")
    for name, tensor in state.items():
        require(torch.equal(found[name], tensor), f"{name} comes back as it was")
    return f"{len(state)} tensors equal; " + same(latents_of(again, "w-3"), latents_of(model, "w-3"), "their walks")


def check_a_lora_is_saved_merged() -> str:
    state = random_state(wide_config())
    width = state[f"{LAYER}.weight"].shape[0]
    generator = torch.Generator().manual_seed(2)
    down, up = (torch.randn(RANK, width, generator=generator), torch.randn(width, RANK, generator=generator))
    plain = load(write_state("to_save.safetensors", state))
    model = with_lora(plain, peft({LAYER: (down * 0.1, up * 0.1)}))
    found = weights_of(load(saved(model, "saved_lora")))
    expected = state[f"{LAYER}.weight"] + STRENGTH * ALPHA / RANK * 0.01 * (up @ down)
    others = [name for name in state if name != f"{LAYER}.weight" and not torch.equal(found[name], state[name])]
    require(not others, f"every other tensor comes back as it was, changed: {others}")
    return close(found[f"{LAYER}.weight"], expected, 1e-6, "the saved weight and merging by hand")


def check_scaled_fp8_is_saved_scaled() -> str:
    model = load(scaled_fp8_file()[0])
    exact = latents_of(model)
    name = saved(model, "saved_fp8")
    # Too narrow for its head size to be known: Save Model does not keep our metadata.
    state = load_file(model_file(name))
    with_sizes = write_state("saved_fp8_with_sizes.safetensors", state, model.model.diffusion_model.config)
    fp8 = sum(tensor.dtype == torch.float8_e4m3fn and tensor.numel() > 2 for tensor in state.values())
    require(fp8 == 33, f"the 11 matrices of each of 3 blocks are saved in fp8: {fp8}")
    return close(latents_of(load(with_sizes)), exact, 1e-6, "walks of a scaled fp8 model, saved and loaded again")


def check_the_tiny_model_saved_says_why_it_cannot_be_loaded() -> str:
    name = saved(load_tiny(), "saved_tiny")
    return refused(lambda: load(name), "does not say how its width of 128 divides into heads")
