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
from ..config import CHUNK_LATENTS, PATCH
from ..dit import KVMemory, WorldPlayDiT
from ..rollout import RolloutEngine
from ..rollout.schedule import CONTEXT_TIMESTEP
from ..weights import dit_config_from, dit_to_native, load_dit, read_checkpoint
from .report import Item, compare, compare_exactly


def check_model_pt(pickle: Path, weights: Path) -> Iterator[Item]:
    """The released envelope (generator, prefixes) holds, bit for bit, the weights of the plain file."""
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
    # Its keys carry no sizes beyond the shapes; the head dim comes from the plain file's metadata.
    config = dit_config_from(want, read_checkpoint(weights).metadata)
    model = WorldPlayDiT(config, device="meta")
    model.load_state_dict(got, strict=True, assign=True)
    yield Item("model_pt.load_strict", note=f"{len(model.state_dict())} tensors")


def check_forward(weights: Path, file: Path, device: torch.device, dtype: torch.dtype, tol: float) -> Iterator[Item]:
    """One forward of chunk 0, one prefill, one denoising forward with that memory."""
    model = load_dit(weights, device=device, dtype=dtype)
    data = {name: tensor.to(device) for name, tensor in load_file(file).items()}
    latents = data["latents"].to(dtype)
    text_kv = model.text_keys_values(data["text"].to(dtype))

    def control(frames: Tensor) -> dict[str, Tensor]:
        return {
            "viewmats": data["viewmats"][:, frames],
            "intrinsics": data["Ks"][:, frames],
            "action": data["action"][:, frames],
        }

    first = torch.arange(CHUNK_LATENTS, device=device)
    flow = model(latents[:, :, first], data["chunk0.timestep"][None], text_kv, **control(first))
    yield compare("dit.chunk0.flow", flow, data["chunk0.flow"], tol)

    remembered = data["memory.frames"]
    memory = KVMemory(
        model.config,
        capacity_frames=len(remembered) + CHUNK_LATENTS,
        tokens_per_frame=latents.shape[3] * latents.shape[4] // PATCH**2,
        device=device,
        dtype=dtype,
    )
    context = torch.full((1, len(remembered)), CONTEXT_TIMESTEP, device=device)
    model(latents[:, :, remembered], context, text_kv, **control(remembered), memory=memory, prefill=True)
    for name, layer in (("first_block", 0), ("last_block", model.config.num_layers - 1)):
        for kind, tensor in zip("kv", memory.read(layer), strict=True):
            both_branches = torch.cat(tensor.chunk(2, dim=0), dim=-1)
            yield compare(f"dit.memory.{name}.{kind}", both_branches, data[f"memory.{name}.{kind}"], tol)

    now = torch.arange(latents.shape[2] - CHUNK_LATENTS, latents.shape[2], device=device)
    flow = model(latents[:, :, now], data["denoise.timestep"][None], text_kv, **control(now), memory=memory)
    yield compare("dit.denoise.flow", flow, data["denoise.flow"], tol)


def check_rollout(
    weights: Path, file: Path, no_image: Path, device: torch.device, dtype: torch.dtype, tol: float
) -> Iterator[Item]:
    """The whole loop through the engine: with a first frame, and (if there is a file `no_image`) without one."""
    data = load_file(file)
    with safe_open(file, "pt") as opened:
        frames_chosen = json.loads(opened.metadata()["memory_frames"])
    model = load_dit(weights, device=device, dtype=dtype)

    def roll(first_frame: Tensor | None) -> tuple[Tensor, list[tuple[int, ...]]]:
        engine = RolloutEngine(model, device=device, dtype=dtype, points=data["points"])
        _, _, _, h, w = data["noise"].shape
        engine.start(data["text"], first_frame=first_frame, latent_size=(h, w))
        viewmats = data["viewmats"][0].double()
        path = Trajectory(
            c2w=np.asarray(torch.linalg.inv(viewmats)),
            intrinsics=np.asarray(data["Ks"][0].double()),
            labels=np.asarray(data["action"][0].long()),
        )
        for i in range(path.chunks):
            noise = data["noise"][:, :, i * CHUNK_LATENTS : (i + 1) * CHUNK_LATENTS]
            engine.step(path.chunk(i), noise=noise)
        return engine.state().latents, list(engine.state().memory_frames)

    latents, chosen = roll(data["first_frame_latent"])
    for i, (got, want) in enumerate(zip(chosen, frames_chosen, strict=True)):
        yield compare_exactly(f"rollout.memory_frames.{i}", list(got), want or [])
    yield compare("rollout.latents", latents, data["latents"], tol)
    if no_image.is_file():
        yield compare("rollout_no_image.latents", roll(None)[0], load_file(no_image)["latents"], tol)
    else:
        yield Item("rollout_no_image", skipped=True, note=f"no {no_image.name}")
