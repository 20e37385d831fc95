"""The engine's network over the host's tensors: when it runs, when not, and that the numbers are the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import comfy.model_management
import torch
from checks_lora import low_rank, merged, peft, small_model, with_lora
from checks_memory import room_for
from torch import Tensor
from workbench import (
    close,
    counted,
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

FORWARDS = 9
"""Of two chunks: four steps, a prefill, four steps."""


@contextmanager
def watched(before: Any = lambda forward: None) -> Iterator[SimpleNamespace]:
    """How many forwards the engine's network ran, and how often it was made; `before` hears the forward's number."""
    module = pack("nodes.host.forwards")
    forward, made = module.Forwards._forward, module._made
    seen = SimpleNamespace(ran=0, made=0)

    def counted_forward(self: Any, *args: Any) -> Any:
        seen.ran += 1
        before(seen.ran)
        return forward(self, *args)

    def counted_made(*args: Any) -> Any:
        seen.made += 1
        return made(*args)

    module.Forwards._forward, module._made = counted_forward, counted_made
    try:
        yield seen
    finally:
        module.Forwards._forward, module._made = forward, made


def walked(model: Any, **kwargs: Any) -> tuple[Tensor, SimpleNamespace]:
    with watched(**kwargs) as seen:
        return latents_of(model), seen


def check_every_forward_of_a_walk() -> str:
    model = small_model()
    got, seen = walked(model)
    require((seen.ran, seen.made) == (FORWARDS, 1), f"all forwards by one network: {seen}")
    with counted(model) as calls:
        expected, seen = walked(model)
    require(len(calls) == FORWARDS and not seen.ran, f"none where a wrapper wants to see them: {seen}")
    return same(got, expected, "the engine's network over the host's tensors, and the host's layers")


def check_not_with_weights_elsewhere() -> str:
    model = small_model()
    with room_for(model, 0.5):
        got, seen = walked(model)
    require(not seen.ran, f"the host's layers fetch their weights: {seen}")
    exact = engine_latents(small_config(), random_state(small_config()))
    found = same(got, exact, "with half the weights loaded and with all")
    got, seen = walked(model)
    require(seen.ran == FORWARDS, f"and not once all are loaded: {seen}")
    return found + same(got, exact, " then loaded")


def check_not_with_weights_to_be_cast() -> str:
    config = small_config()
    model = load(random_file("for_resident.safetensors", config), "fp8_e4m3fn")
    _, seen = walked(model)
    return require(not seen.ran, f"the host's layers cast their weights: {seen}")


def check_a_lora_in_the_weights_on_and_off() -> str:
    plain, pairs = small_model(), low_rank()
    exact, _ = walked(plain)
    patched = with_lora(plain, peft(pairs))
    got, seen = walked(patched)
    require(seen.ran == FORWARDS, f"patched weights are weights: {seen}")
    want = engine_latents(small_config(), merged(random_state(small_config()), pairs))
    near = close(got, want, 1e-5, "a LoRA and merging by hand")
    return near + same(walked(plain)[0], exact, " without it, afterwards and before")


def check_made_anew_once_weights_have_moved() -> str:
    model = with_lora(small_model(), peft(low_rank()))
    whole, _ = walked(model)

    def unload(forward: int) -> None:
        if forward == 4:  # the last step of the first chunk
            comfy.model_management.unload_all_models()

    again, seen = walked(model, before=unload)
    require((seen.ran, seen.made) == (FORWARDS, 2), f"two networks: before the weights left and after: {seen}")
    return same(again, whole, "a walk whose weights left between its chunks, and one in peace")


def check_other_layers_run_as_they_are() -> str:
    exact, _ = walked(small_model())
    for what in ("hook", "module", "forward"):
        model = small_model()
        layer = model.model.diffusion_model.blocks[1].ffn
        if what == "hook":
            layer[0].register_forward_hook(lambda *_: None)
        elif what == "module":
            layer[1] = type("Other", (torch.nn.GELU,), {"__module__": "another_pack"})(approximate="tanh")
        else:
            layer[1].forward = torch.nn.GELU(approximate="tanh").forward
        got, seen = walked(model)
        require(not seen.ran, f"a {what} of another node's: {seen}")
        same(got, exact, what)
    return "A hook, a module and a forward of another node's run."


def check_without_graphs_where_recording_fails() -> str:
    module = pack("nodes.host.forwards")
    model, recorded = small_model(), []
    exact, _ = walked(model)

    class Full:
        def __init__(self, network: Any) -> None:
            pass

        def __call__(self, inputs: Any) -> Any:
            recorded.append(inputs)
            raise torch.OutOfMemoryError("too little for a recording")

    kept = module.wants_graphs, module.GraphedNetwork, torch.cuda.stream, torch.cuda.current_stream
    module.wants_graphs, module.GraphedNetwork = lambda *_: True, Full
    torch.cuda.stream, torch.cuda.current_stream = lambda _: nullcontext(), lambda _: None
    try:
        got, seen = walked(model)
    finally:
        module.wants_graphs, module.GraphedNetwork, torch.cuda.stream, torch.cuda.current_stream = kept
    require(seen.ran == FORWARDS and len(recorded) == 1, f"it is tried once: {len(recorded)}")
    return same(got, exact, "a walk whose recording failed, and one without")


def check_host_layers_where_memory_is_short() -> str:
    """Pages that stay on the card for a whole forward may be what is missing: the host's layers need one at a time."""
    module, model = pack("nodes.host.forwards"), small_model()
    exact, _ = walked(model)
    tried = []

    def full(self: Any, *_: Any) -> Any:
        tried.append(1)
        self._resident._pages._layers = [0]  # as if it had pages
        self._resident._pages.unpin = lambda: None
        raise torch.OutOfMemoryError("too little for a forward")

    kept = module.Forwards._forward
    module.Forwards._forward = full
    try:
        got = latents_of(model)
    finally:
        module.Forwards._forward = kept
    require(len(tried) == 1, f"it is tried once: {len(tried)}")
    return same(got, exact, "a walk for which memory was short, and one with enough")


def check_pages_that_were_taken() -> str:
    """The host's dynamic memory, played: a page that was taken has another signature."""
    pages, pinned = pack("nodes.host.pages"), []
    signatures = {"a": 1, "b": 2, "c": 3}
    layers = [SimpleNamespace(_v=name, _v_signature=signature) for name, signature in signatures.items()]
    kept = pages.Pages(())
    kept._layers = layers
    kept._vbar = SimpleNamespace(
        vbar_fault=lambda name: (pinned.append(name), signatures[name])[1],
        vbar_unpin=pinned.remove,
        vbar_signature_compare=lambda a, b: a is not None and a == b,
    )
    require(kept.pin() and pinned == ["a", "b", "c"], f"all are pinned for a forward: {pinned}")
    kept.unpin()
    require(not pinned, f"and none after it: {pinned}")
    signatures["b"] = 4
    require(not kept.pin() and not pinned, f"with one taken, none stays pinned: {pinned}")
    return "Pages are pinned together or not at all."


def check_pages_are_taken_as_they_were_patched() -> str:
    """The host hands out what it patched at first, and what lies in the page later: the page is what counts."""
    pages, uncast = pack("nodes.host.pages"), []
    page = torch.ones(2, 2)
    layer = torch.nn.Identity()
    layer._v, layer._v_signature, layer._v_weight, layer._v_bias = "a", 1, page, None
    host, kept = SimpleNamespace(), pages.comfy
    host.cast_bias_weight = lambda layer, **_: (page.clone(), None, "stream")
    host.uncast_bias_weight = lambda *args: uncast.append(args[-1])
    pages.comfy = SimpleNamespace(ops=host)
    try:
        found = pages.fetched([layer], torch.device("cpu"), torch.float32)
        other = pages.fetched([layer], torch.device("cpu"), torch.bfloat16)
        layer._v_signature = None
        without_room = pages.fetched([layer], torch.device("cpu"), torch.float32)
    finally:
        pages.comfy = kept
    require(found[layer].keys() == {"weight"} and found[layer]["weight"] is page, f"the page itself: {found}")
    require(other is None and without_room is None, "nothing that would be cast, or was fetched for once")
    return require(uncast == ["stream"] * 3, "the host is told each time that it is no longer needed")
