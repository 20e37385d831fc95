"""Network and rollout: dit_weights, model.pt, dit_forward, rollout, rollout_no_image."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..camera import Trajectory
from ..config import PATCH
from ..dit import Inputs, KVMemory, WanDiT
from ..walk import WORLDPLAY, Walker, World
from ..weights import dit_config_from, dit_to_native, load_dit, read_checkpoint
from .report import Item, compare, compare_exactly


def check_model_pt(pickle: Path, weights: Path) -> Iterator[Item]:
    """The released envelope (generator, prefixes) holds exactly the weights of the plain file."""
    got = dit_to_native(read_checkpoint(pickle).state)
    want = dit_to_native(read_checkpoint(weights).state)
    wrong = [name for name in want if name not in got or not torch.equal(got[name], want[name])]
    surplus = [name for name in got if name not in want]
    yield Item(
        "model_pt.weights",
        max_abs=float(len(wrong) + len(surplus)),
        relative=(len(wrong) + len(surplus)) / len(want),
        passed=not wrong and not surplus,
        note=f"{len(want)} tensors" if not wrong and not surplus else f"differ: {(wrong + surplus)[:3]}",
    )
    # The pickle does not state the head dim; it comes from the plain file's metadata.
    config = dit_config_from(want, read_checkpoint(weights).metadata)
    model = WanDiT(config, device="meta")
    model.load_state_dict(got, strict=True, assign=True)
    yield Item("model_pt.load_strict", note=f"{len(model.state_dict())} tensors")


def check_forward(weights: Path, file: Path, device: torch.device, dtype: torch.dtype, tol: float) -> Iterator[Item]:
    """A forward of chunk 0, a prefill, and a denoising forward with that memory."""
    model = load_dit(weights, device=device, dtype=dtype)
    data = {name: tensor.to(device) for name, tensor in load_file(file).items()}
    text_kv = model.text_keys_values(data["text"].to(dtype))
    chunk, context = WORLDPLAY.chunk_latents, WORLDPLAY.context_timestep
    remembered = data["memory.frames"]

    def inputs(frames: Tensor, timestep: Tensor, memory: KVMemory | None, *, prefill: bool = False) -> Inputs:
        return Inputs(
            latents=data["latents"][:, :, frames].to(dtype),
            timestep=timestep[None],
            viewmats=data["viewmats"][:, frames],
            intrinsics=data["Ks"][:, frames],
            action=data["action"][:, frames],
            text_kv=text_kv,
            memory=memory,
            prefill=prefill,
        )

    first = torch.arange(chunk, device=device)
    flow = model(inputs(first, data["chunk0.timestep"], None))
    yield compare("dit.chunk0.flow", flow, data["chunk0.flow"], tol)

    _, _, count, h, w = data["latents"].shape
    memory = KVMemory(
        model.config,
        memory_frames=len(remembered),
        new_frames=chunk,
        tokens_per_frame=h * w // PATCH**2,
        device=device,
        dtype=dtype,
    )
    model(inputs(remembered, torch.full((len(remembered),), context, device=device), memory, prefill=True))
    for name, layer in (("first_block", 0), ("last_block", model.config.num_layers - 1)):
        for kind, tensor in zip("kv", memory.read(layer), strict=True):
            both_branches = torch.cat(tensor.chunk(2, dim=0), dim=-1)
            yield compare(f"dit.memory.{name}.{kind}", both_branches, data[f"memory.{name}.{kind}"], tol)

    now = torch.arange(count - chunk, count, device=device)
    flow = model(inputs(now, data["denoise.timestep"], memory))
    yield compare("dit.denoise.flow", flow, data["denoise.flow"], tol)


def check_rollout(
    weights: Path, file: Path, no_image: Path, device: torch.device, dtype: torch.dtype, tol: float
) -> Iterator[Item]:
    """The whole loop, with a first frame and, if the file `no_image` exists, without one."""
    data = load_file(file)
    with safe_open(file, "pt") as opened:
        frames_chosen = json.loads(opened.metadata()["memory_frames"])
    model = load_dit(weights, device=device, dtype=dtype)
    n = WORLDPLAY.chunk_latents
    path = Trajectory(
        c2w=np.asarray(torch.linalg.inv(data["viewmats"][0].double())),
        intrinsics=np.asarray(data["Ks"][0].double()),
        labels=np.asarray(data["action"][0].long()),
    )

    def roll(first_frame: Tensor | None) -> World:
        walker = Walker(model, device=device, dtype=dtype, points=data["points"])
        _, _, _, h, w = data["noise"].shape
        world = walker.begin(data["text"], first_frame=first_frame, latent_size=(h, w))
        for cameras, noise in zip(path.split(n), data["noise"].split(n, dim=2), strict=True):
            world = walker.step(world, cameras, noise=noise).world
        return world

    world = roll(data["first_frame_latent"])
    for i, (got, want) in enumerate(zip(world.memory_frames, frames_chosen, strict=True)):
        yield compare_exactly(f"rollout.memory_frames.{i}", list(got), want or [])
    yield compare("rollout.latents", world.latents, data["latents"], tol)
    if no_image.is_file():
        yield compare("rollout_no_image.latents", roll(None).latents, load_file(no_image)["latents"], tol)
    else:
        yield Item("rollout_no_image", skipped=True, note=f"no {no_image.name}")
