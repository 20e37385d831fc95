"""Walks that worker processes share, here on the CPU: their numbers, when they end, and what becomes of the walk."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import comfy.model_management
import comfy.patcher_extension
import torch
from checks_interrupt import press_stop
from checks_lora import low_rank, peft, with_lora
from workbench import (
    close,
    counted,
    differ,
    latents_of,
    load,
    load_tiny,
    pack,
    random_state,
    refused,
    require,
    small_config,
    small_vae,
    walk,
    write_state,
)

NEAR = 1e-5
"""Sums in another order."""

PATH = "w-3, right-8"
IN_THE_THIRD_CHUNK = 12
"""Number of a forward: 4 steps, then a prefill and 4 steps in every chunk."""


def workers() -> list[int]:
    """Processes that this one started for walks, as the system knows them."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent, state = int(stat.read_text().rpartition(")")[2].split()[1]), stat.read_text().rpartition(")")[2]
            command = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == os.getpid() and b"begin.py" in command and state.split()[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def shared_tiny() -> Any:
    return load(pack("nodes.host.model").RANDOM_NAME, gpus=2)


def check_two_processes_walk_as_one() -> str:
    one = walk(load_tiny(), PATH)
    model = shared_tiny()
    two = walk(model, PATH)
    first = workers()
    require(len(first) == 1, f"one worker beside the host: {first}")
    evidence = [close(two.world.latents, one.world.latents, NEAR, "latents")]
    apart = (two.images - one.images).abs().max().item() * 255
    evidence.append(require(apart <= 1, f"frames at most one level apart: {apart:.3f}"))
    again = walk(model, PATH)
    require(torch.equal(again.world.latents, two.world.latents), "the same walk twice is the same bit for bit")
    require(workers() == first, "the second walk had the same worker")
    onwards = walk(model, "w-4", world=two.world)
    alone = walk(load_tiny(), "w-4", world=one.world)
    evidence.append(close(onwards.world.latents, alone.world.latents, NEAR, "a world that goes on"))
    require(model.model.diffusion_model.kernels.exchange is None, "the model is the host's again")
    comfy.model_management.unload_all_models()
    require(not workers(), "no worker once the host has unloaded the model")
    del model
    return " ".join(evidence)


def check_workers_have_the_patched_weights() -> str:
    config, state = small_config(num_heads=4), random_state(small_config(num_heads=4))
    name = write_state("shared.safetensors", state, config)
    evidence = []
    for weight_dtype in ("default", "fp8_e4m3fn"):
        base, shared = load(name, weight_dtype), load(name, weight_dtype, gpus=2)
        lora = peft(low_rank(config=config))
        for what, one, two in (
            ("without", base, shared),
            ("with a LoRA", with_lora(base, lora), with_lora(shared, lora)),
            ("without again", base, shared),
        ):
            evidence.append(close(latents_of(two, "w-3"), latents_of(one, "w-3"), NEAR, f"{weight_dtype}, {what}"))
        require(len(workers()) == 1, "one worker for all of them")
    evidence.append(differ(latents_of(with_lora(shared, lora), "w-3"), latents_of(shared, "w-3"), "the LoRA"))
    return " ".join(evidence)


def check_a_cancelled_walk_leaves_the_workers_ready() -> str:
    model, alone = shared_tiny(), latents_of(load_tiny(), PATH)
    latents_of(model, PATH)
    first = workers()
    with counted(model, lambda call: press_stop() if call == IN_THE_THIRD_CHUNK else None):
        stopped = refused(lambda: latents_of(model, PATH), kind=comfy.model_management.InterruptProcessingException)
    evidence = close(latents_of(model, PATH), alone, NEAR, "the next walk")
    require(workers() == first, "it had the same worker")
    return f"{stopped}; {evidence}"


def check_a_killed_worker_ends_the_walk_alone() -> str:
    model, alone = shared_tiny(), latents_of(load_tiny(), PATH)
    latents_of(model, PATH)
    (first,) = workers()
    began = []

    def kill(call: int) -> None:
        if call == IN_THE_THIRD_CHUNK:
            began.append(time.monotonic())
            os.kill(first, signal.SIGKILL)

    with counted(model, kill):
        sentence = refused(
            lambda: latents_of(model, PATH), "Process 2 of the 2", kind=pack("hyworld.parallel").RankLostError
        )
    seconds = time.monotonic() - began[0]
    require(seconds < 5, f"it ended after {seconds:.1f} s")
    require(not workers(), "no worker is left")
    require(model.model.diffusion_model.kernels.exchange is None, "the model is the host's again")
    evidence = close(latents_of(model, PATH), alone, NEAR, "the next walk")
    (second,) = workers()
    require(second != first, "another worker")
    return f"{sentence} After {seconds:.1f} s; {evidence}"


def check_workers_end_with_the_model() -> str:
    model = shared_tiny()
    latents_of(model)
    require(len(workers()) == 1, "a worker")
    del model
    comfy.model_management.cleanup_models_gc()
    import gc

    gc.collect()
    return require(not workers(), "no worker once nobody has the model")


def check_what_cannot_be_shared_is_refused() -> str:
    name = pack("nodes.host.model").RANDOM_NAME
    evidence = [refused(lambda: load(name, gpus=3), "4 heads", "2, 4 GPUs")]
    model = shared_tiny()
    evidence.append(refused(lambda: latents_of(model, size=(32, 32)), "1 tokens", "larger size"))
    gpus = pack("nodes.host.gpus")
    evidence.append(refused(lambda: gpus.check_gpus(2, torch.device("mps")), "set gpus to 1"))
    there, nccl = "torch.cuda.device_count", "torch.distributed.is_nccl_available"
    with mock.patch(there, return_value=2), mock.patch(nccl, return_value=False):
        evidence.append(refused(lambda: gpus.check_gpus(2, torch.device("cuda:0")), "NCCL"))
    with mock.patch(there, return_value=3), mock.patch(nccl, return_value=True):
        gpus.check_gpus(3, torch.device("cuda:0"))
        evidence.append(refused(lambda: gpus.check_gpus(4, torch.device("cuda:0")), "ComfyUI sees 3 GPUs"))
        require(gpus._devices(torch.device("cuda:1"), 2) == ("cuda:1", "cuda:0"), "the model's own GPU leads")
    compiled = model.clone()
    compiled.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.APPLY_MODEL, "torch.compile", print)
    evidence.append(refused(lambda: latents_of(compiled), "compiled model", "compile node"))
    require(not workers(), "and no worker was started")
    return " ".join(evidence)


def check_the_host_makes_room_where_workers_will_be() -> str:
    class Loaded(NamedTuple):
        device: torch.device

    freed: list[Any] = []
    management = comfy.model_management
    on = [Loaded(torch.device(name)) for name in ("cuda:0", "cuda:2")]
    with (
        mock.patch.object(management, "current_loaded_models", on),
        mock.patch.object(management, "free_memory", lambda needed, device: freed.append((needed, device))),
    ):
        model = load_tiny()
        pack("nodes.host.gpus")._make_room(("cuda:1", "cuda:2"), [model], 1000)
    expected = [(1000 + model.model_size(), torch.device("cuda:2"))]
    return require(freed == expected, f"the GPU with a model on it alone, for weights and the walk: {freed}")


def check_a_vae_on_another_device_decodes_beside_the_walk() -> str:
    model, host = load_tiny(), pack("nodes.host.vae")
    pipeline_of = pack("nodes.plan").pipeline_of
    found = []
    for device in ("cpu", "cuda:1"):
        vae = small_vae(model.model.diffusion_model.config.latent_channels)
        vae.device = torch.device(device)
        pipeline, _ = pipeline_of(model, host.HostVAE(vae), host.FULL_DECODER, "auto")
        found.append((str(pipeline.walker.decoding.device), pipeline.walker.decoding.beside))
    return require(found == [("cpu", False), ("cuda:1", True)], f"the VAE's device, and whether beside: {found}")
