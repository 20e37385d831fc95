"""What other nodes do to a MODEL without an effect on a walk, and that it is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from checks_lora import warnings_of_the_host
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_cfg import CFGZeroStar
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion
from comfy_extras.nodes_easycache import EasyCacheNode
from comfy_extras.nodes_model_advanced import ModelSamplingSD3, RescaleCFG
from workbench import latents_of, load_tiny, pack, require, same


def said(model: Any) -> list[str]:
    return pack("nodes.host.idle").idle_patches(model)


def changed(model: Any, change: Callable[[Any], Any]) -> Any:
    """What a node makes of the MODEL."""
    clone = model.clone()
    change(clone)
    return clone


def output(result: Any) -> Any:
    """The first output of a core node, of either API."""
    return result[0] if isinstance(result, tuple) else result.args[0]


def attention(*args: Any, **kwargs: Any) -> torch.Tensor:
    raise AssertionError("never called")


CHANGES: dict[str, Callable[[Any], Any]] = {
    "ModelSampling nodes": lambda model: ModelSamplingSD3().patch(model, 3.0)[0],
    "CFG and guidance nodes": lambda model: RescaleCFG().patch(model, 0.7)[0],
    "CFG and guidance": lambda model: output(CFGZeroStar.execute(model)),
    "Differential Diffusion": lambda model: output(DifferentialDiffusion.execute(model)),
    "Wrappers around sampling, such as EasyCache": lambda model: output(
        EasyCacheNode.execute(model, 0.2, 0.15, 0.95, False)
    ),
    "Context windows": lambda model: changed(model, lambda m: m.model_options.update(context_handler=attention)),
    "A wrapper around": lambda model: changed(model, lambda m: m.set_model_unet_function_wrapper(attention)),
    "Attention and block": lambda model: changed(model, lambda m: m.set_model_attn1_patch(attention)),
    "Attention and block patches": lambda model: changed(
        model, lambda m: m.set_model_attn1_replace(attention, "middle", 0, 0)
    ),
    "Another node's attention": lambda model: changed(
        model,
        lambda m: m.model_options["transformer_options"].update(optimized_attention_override=attention),
    ),
    "RoPE options": lambda model: changed(
        model, lambda m: m.model_options["transformer_options"].update(rope_options={"scale_x": 2.0})
    ),
}
"""How a sentence begins, and what brings it about."""


def check_changes_without_an_effect_are_told_and_have_none() -> str:
    plain = load_tiny()
    require(not said(plain), "nothing to say about a MODEL as loaded")
    exact = latents_of(plain)
    for begins, change in CHANGES.items():
        model = change(plain)
        sentences = said(model)
        require(len(sentences) == 1 and sentences[0].startswith(begins), f"{begins}: {sentences}")
        require(sentences[0].endswith("."), sentences[0])
        same(latents_of(model), exact, f"{begins}: a walk with and without it")
    require(not said(plain), "the MODEL they were made from is as it was")
    return f"{len(CHANGES)} kinds of change are told one sentence each, and change no bit of a walk"


def check_one_sentence_for_all_of_a_kind() -> str:
    model = load_tiny()
    for _ in range(2):
        model = output(CFGZeroStar.execute(RescaleCFG().patch(ModelSamplingSD3().patch(model, 3.0)[0], 0.7)[0]))
    require(len(said(model)) == 2, f"two kinds, two sentences: {said(model)}")
    return " ".join(said(model))


def check_the_sampler_says_it() -> str:
    with warnings_of_the_host() as warned:
        latents_of(ModelSamplingSD3().patch(load_tiny(), 3.0)[0])
    lines = [line for line in warned if "HY-WorldPlay: ModelSampling nodes have no effect" in line]
    return require(len(lines) == 1, f"one warning per walk: {warned}")


def check_wrappers_that_run_are_not_told() -> str:
    """The compile node's, for one."""
    model = load_tiny().clone()
    ran: list[int] = []

    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Any:
        ran.append(1)
        return executor(*args, **kwargs)

    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "checks", wrapper)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "checks", wrapper)
    model.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, "checks")
    latents_of(model)
    require(ran, "the wrapper ran")
    return require(not said(model), f"a wrapper that runs is not told: {said(model)}")
