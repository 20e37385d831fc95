"""Too little memory: weights the host keeps elsewhere and hands over layer by layer; everything unloaded and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import comfy.model_management
import torch
from checks_lora import low_rank, merged, peft, small_model, with_lora
from torch import nn
from workbench import (
    close,
    counted,
    engine_latents,
    latents_of,
    load,
    load_tiny,
    random_file,
    random_state,
    require,
    same,
    small_config,
    small_vae,
    walk,
)


def waiting_elsewhere(model: Any) -> list[nn.Parameter]:
    """Parameters on the offload device: of layers the host casts at every call, and those that no layer owns."""
    elsewhere = []
    for module in model.model.diffusion_model.modules():
        own = list(module.parameters(recurse=False))
        bare = own and len(own) < len(list(module.parameters()))
        if bare or hasattr(module, "prev_comfy_cast_weights"):
            elsewhere += own
    return elsewhere


@contextmanager
def room_for(model: Any, share: float) -> Iterator[dict[str, int]]:
    """Let the host load only this share of the weights, by its own partial loading.

    On a CPU all devices are the same one. So that a weight used without the host's cast shows nevertheless, those left
    behind are float64 meanwhile: a layer that computes with them itself fails, one that asks the host gets float32.
    """
    whole = model.partially_load
    seen = {"loaded": 0, "elsewhere": 0, "patched on the fly": 0}

    def bring_back() -> None:
        for parameter in model.model.parameters():
            parameter.data = parameter.data.float()

    def partially(device_to: Any, extra_memory: float = 0, force_patch_weights: bool = False) -> Any:
        bring_back()
        left = share * model.model_size() - model.model.model_loaded_weight_memory
        result = whole(device_to, extra_memory=max(left, 0.1), force_patch_weights=force_patch_weights)
        for parameter in waiting_elsewhere(model):
            parameter.data = parameter.data.double()
        modules = list(model.model.diffusion_model.modules())
        seen["elsewhere"] = sum(hasattr(module, "prev_comfy_cast_weights") for module in modules)
        seen["loaded"] = sum(getattr(module, "comfy_patched_weights", False) is True for module in modules)
        seen["patched on the fly"] = sum(len(getattr(module, "weight_function", ())) for module in modules)
        return result

    model.partially_load = partially
    try:
        yield seen
    finally:
        del model.partially_load
        with torch.inference_mode():
            bring_back()
            comfy.model_management.unload_all_models()


def check_a_walk_with_half_the_weights_loaded() -> str:
    model = small_model()
    exact = engine_latents(small_config(), random_state(small_config()))
    with room_for(model, 0.5) as seen:
        walked = latents_of(model)
    require(seen["loaded"] and seen["elsewhere"], f"some layers are loaded and some are not: {seen}")
    return f"{seen}: " + same(walked, exact, "walk with half the weights loaded and with all")


def check_a_walk_with_no_weights_loaded() -> str:
    model = small_model()
    exact = engine_latents(small_config(), random_state(small_config()))
    with room_for(model, 0.0) as seen:
        walked = latents_of(model)
    require(not seen["loaded"] and seen["elsewhere"] > 40, f"every layer waits elsewhere: {seen}")
    return f"{seen}: " + same(walked, exact, "walk with no weights loaded and with all")


def check_a_lora_with_a_third_of_the_weights_loaded() -> str:
    pairs = low_rank()
    model = with_lora(small_model(), peft(pairs))
    exact = engine_latents(small_config(), merged(random_state(small_config()), pairs))
    with room_for(model, 0.33) as seen:
        walked = latents_of(model)
    require(0 < seen["patched on the fly"] < len(pairs), f"some layers are patched at every call, some once: {seen}")
    part = close(walked, exact, 1e-5, "a LoRA with a third of the weights loaded and merging by hand")
    whole = close(latents_of(model), exact, 1e-5, "then with all weights loaded")
    return f"{seen}: {part} {whole}"


def check_a_lora_with_no_weights_loaded() -> str:
    pairs = low_rank()
    model = with_lora(small_model(), peft(pairs))
    exact = engine_latents(small_config(), merged(random_state(small_config()), pairs))
    with room_for(model, 0.0) as seen:
        walked = latents_of(model)
    require(seen["patched on the fly"] == len(pairs), f"all {len(pairs)} layers are patched at every call: {seen}")
    return f"{seen}: " + close(walked, exact, 1e-5, "a LoRA with no weights loaded and merging by hand")


def check_everything_unloaded_and_back() -> str:
    model = load_tiny()
    first = walk(model)
    comfy.model_management.unload_all_models()
    require(not comfy.model_management.current_loaded_models, "the host holds no model")
    again = walk(model)
    return same(again.world.latents, first.world.latents, "a walk before and after everything was unloaded") + same(
        again.images, first.images, " Its frames"
    )


def check_unloaded_between_two_chunks() -> str:
    """Another node may need the memory meanwhile: the sampler asks for its models before every chunk."""
    model = load_tiny()
    whole = latents_of(model)
    loaded: list[int] = []

    def look(call: int) -> None:
        loaded.append(len(comfy.model_management.current_loaded_models))
        if call == 4:  # the last step of the first chunk
            comfy.model_management.unload_all_models()

    with counted(model, look) as calls:
        again = latents_of(model)
    require(calls == ["step"] * 4 + ["prefill"] + ["step"] * 4, f"two chunks: {calls}")
    require(loaded == [2] * 9, f"MODEL and VAE are both loaded at every call: {loaded}")
    return same(again, whole, "a walk whose models were unloaded between its chunks, and one in peace")


def peak(of: Callable[[], Any]) -> tuple[Any, int]:
    """What `of` returns, and by how many bytes this process grew at most meanwhile."""
    status = Path("/proc/self/status")
    before = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS")).split()[1]
    Path("/proc/self/clear_refs").write_text("5")
    result = of()
    after = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]
    return result, (int(after) - int(before)) * 1024


def check_frames_lie_in_memory_once() -> str:
    """As float32, which IMAGE is: 4 bytes for each of the frames' own."""
    config = small_config()
    model, vae = load(random_file("for_frames.safetensors", config)), small_vae()
    at_large = {"vae": vae, "size": (320, 320)}
    walk(model, "w-15", **at_large)  # what the allocator keeps
    # What a chunk takes while it is made is the same in both.
    short, some = peak(lambda: walk(model, "w-31", **at_large).images.numel())
    long, more = peak(lambda: walk(model, "w-127", **at_large).images.numel())
    share = (more - some) / (long - short)
    # 4.1, give or take what the allocator keeps; it was 8.8 to 10 when the frames lay in memory twice.
    return require(
        share < 5.5, f"{share:.2f} bytes for each byte of the frames ({some} for {short}, {more} for {long})."
    )
