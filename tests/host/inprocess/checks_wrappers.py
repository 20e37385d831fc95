"""What other nodes put around a model: the compile node, and wrappers of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy_extras.nodes_torch_compile
import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers import set_torch_compile_wrapper
from torch import Tensor
from workbench import (
    close,
    counted,
    differ,
    latents_of,
    load,
    pack,
    random_file,
    require,
    same,
    small_config,
)

PATH = "w-7, right-16"
"""6 chunks: the last two look at a full memory, and are what all later ones are like."""

FORWARDS = ["step"] * 4 + (["prefill"] + ["step"] * 4) * 5


class Recorder:
    """A torch.compile backend that runs each graph as it is, and counts graphs and their runs."""

    def __init__(self) -> None:
        self.graphs = 0
        self.runs = 0

    def __call__(self, graph: Any, inputs: list[Tensor]) -> Callable[..., Any]:
        self.graphs += 1

        def run(*args: Any) -> Any:
            self.runs += 1
            return graph(*args)

        return run


def small_model() -> Any:
    config = small_config(num_layers=2)
    return load(random_file("for_compile.safetensors", config))


def check_every_forward_runs_compiled_however_long_the_walk() -> str:
    """One graph per forward, and few enough of them that torch does not give up on compiling (at 8)."""
    plain, recorder = small_model(), Recorder()
    exact = latents_of(plain, PATH)
    torch.compiler.reset()
    with torch.inference_mode():
        compiled = plain.clone()
        set_torch_compile_wrapper(compiled, backend=recorder)
    with counted(compiled) as calls:
        walked = latents_of(compiled, PATH)
    require(calls == FORWARDS, f"six chunks: {calls}")
    require(recorder.runs == len(calls), f"each of {len(calls)} forwards is one compiled graph: {recorder.runs} ran")
    require(recorder.graphs < 8, f"fewer graphs than torch's limit of recompilations: {recorder.graphs}")
    graphs, runs = recorder.graphs, recorder.runs
    again = latents_of(compiled, PATH)
    require((recorder.graphs, recorder.runs) == (graphs, 2 * runs), "a second walk compiles nothing anew")
    untouched = latents_of(plain, PATH)
    require(recorder.runs == 2 * runs, "the MODEL before the compile node stays uncompiled")
    return " ".join(
        (
            f"{graphs} graphs in {runs} forwards.",
            close(walked, exact, 1e-5, "compiled and not"),
            same(again, walked, "a second compiled walk and the first"),
            same(untouched, exact, "the MODEL before the compile node, then and before"),
        )
    )


def check_the_compile_node_takes_our_model() -> str:
    """The node itself, with its real backend put off: what it returns is ours and knows how it is compiled."""
    with torch.inference_mode():
        (compiled,) = comfy_extras.nodes_torch_compile.TorchCompileModel.execute(small_model(), "inductor").args
    wrappers = compiled.wrappers[WrappersMP.APPLY_MODEL]
    require(list(wrappers) == ["torch.compile"], f"it adds its wrapper: {list(wrappers)}")
    model = pack("nodes.host.model").require_worldplay(compiled)
    kept = compiled.model_options["torch_compile_kwargs"]["backend"]
    return require(model is compiled and kept == "inductor", "TorchCompileModel gives one of our MODELs, for inductor")


def check_wrappers_see_prefills_and_steps_in_the_order_they_were_added() -> str:
    model, seen = small_model().clone(), []

    def named(name: str) -> Callable[..., Any]:
        def wrapper(
            executor: Any, x: Tensor, t: Tensor, concat: Any, text: Any, control: Any, options: Any, **kwargs: Any
        ) -> Any:
            seen.append((name, kwargs["inputs"].prefill, tuple(x.shape), tuple(t.shape), list(options["wrappers"])))
            return executor(x, t, concat, text, control, options, **kwargs)

        return wrapper

    exact = latents_of(model)
    for name in ("outer", "inner"):
        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, name, named(name))
    walked = latents_of(model)
    require([name for name, *_ in seen] == ["outer", "inner"] * 9, f"each sees each of 9 forwards: {seen}")
    require([prefill for _, prefill, *_ in seen[::2]] == [False] * 4 + [True] + [False] * 4, "and which are prefills")
    shapes = {(x, t) for _, _, x, t, _ in seen}
    require(shapes == {((1, 48, 4, 4, 4), (1, 4))}, f"latents and a timestep per latent: {shapes}")
    require(all(kinds == [WrappersMP.APPLY_MODEL] for *_, kinds in seen), "transformer_options tells of the wrappers")
    return same(walked, exact, "a walk with wrappers that change nothing and one without")


def check_a_wrapper_may_change_what_the_network_says() -> str:
    model = small_model().clone()
    exact = latents_of(model)

    def halve(executor: Any, *args: Any, **kwargs: Any) -> Any:
        flow = executor(*args, **kwargs)
        return None if flow is None else flow * 0.5

    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "halve", halve)
    return differ(latents_of(model), exact, "a wrapper that halves the flow", least=0.05)
