"""DreamX-World: schedule, paths, every call of the network, its attentions and cache, whole walks, colours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..camera import Trajectory
from ..camera.poses import integrate
from ..camera.shares import Runs, keys_of, runs_of
from ..camera.tokens import DREAMX_SPEEDS, KEYS, Speeds, motion_of
from ..config import PATCH, VAE_TEMPORAL_STRIDE, frames_in
from ..dit import Inputs, RollingMemory, WanDiT
from ..walk import Recipe, Rolling, Walker
from ..walk.colour import ColourMatch
from ..walk.recipes import DREAMX_5B, DREAMX_5B_BF16
from ..walk.schedules import sigma_near
from ..weights import load_dit
from .report import TOLERANCE, Item, compare, compare_exactly

Check = tuple[str, list[str], Callable[[], Iterator[Item]]]

WEIGHTS = "dit_weights.safetensors"
PICTURE_SPEEDS = Speeds(
    move=DREAMX_SPEEDS.move / DREAMX_SPEEDS.steps, turn_deg=DREAMX_SPEEDS.turn_deg / DREAMX_SPEEDS.steps
)


def is_dreamx(folder: Path) -> bool:
    """Whether the weights in this folder are DreamX-World's."""
    try:
        return "attn_compress" in _settings(folder / WEIGHTS)
    except (OSError, SafetensorError, ValueError):
        return False


def checks(folder: Path, device: torch.device, dtype: torch.dtype, tol: float) -> Iterator[Check]:
    """The comparisons of a folder, with the files that each needs."""
    run = (folder, device, dtype, tol)
    yield "schedule", ["schedule.safetensors"], lambda: check_schedule(folder)
    yield "trajectories", ["trajectories.safetensors"], lambda: check_trajectories(folder)
    yield "dit", [WEIGHTS, "rollout.safetensors", "dit_forward.safetensors"], lambda: check_forward(*run)
    yield (
        "dit_without_camera",
        [WEIGHTS, "rollout.safetensors", "dit_without_camera.safetensors"],
        lambda: check_without_camera(*run),
    )
    yield "colour_correction", ["colour_correction.safetensors"], lambda: check_colours(folder, device)
    yield "rollout", [WEIGHTS, "rollout.safetensors"], lambda: check_rollout(*run)


def recipe_of(folder: Path) -> Recipe:
    """The recipe with the window of this folder's network."""
    settings = _settings(folder / WEIGHTS)
    sink = settings["sink"]
    return replace(DREAMX_5B, memory=Rolling(window=settings["window"] - sink, sink=sink, rotated=False))


def check_schedule(folder: Path) -> Iterator[Item]:
    """Timesteps and sigmas, exact and in bfloat16."""
    tol = TOLERANCE[torch.float32]  # numbers of the CPU
    file = folder / "schedule.safetensors"
    data, settings = load_file(file), _metadata(file)
    for name, recipe, steps in (("", DREAMX_5B, "steps"), ("bfloat16.", DREAMX_5B_BF16, "bfloat16.steps")):
        yield compare(f"schedule.{steps}", torch.tensor(recipe.timesteps), data[steps], tol)
        if name:
            wanted = data["bfloat16.sigmas_of_x0"]
            yield compare("schedule.bfloat16.sigmas_of_x0", torch.tensor(recipe.clean_sigmas), wanted, tol)
    nearest = (data["timesteps"][None] - data["steps"][:, None]).abs().argmin(1)
    yield compare("schedule.sigmas", torch.tensor(DREAMX_5B.sigmas[:-1]), data["sigmas"][nearest], tol)
    yield compare(
        "schedule.context_timestep",
        torch.tensor([DREAMX_5B.context_timestep]),
        torch.tensor([float(settings["context_timestep"])]),
        tol,
    )
    yield compare_exactly("schedule.chunk_latents", [DREAMX_5B.chunk_latents], [int(settings["chunk_latents"])])


def check_trajectories(folder: Path) -> Iterator[Item]:
    """Actions and shares → runs, poses of pictures, cameras of latents from the start and from the chunk before."""
    file = folder / "trajectories.safetensors"
    data, n = load_file(file), DREAMX_5B.chunk_latents
    tol = TOLERANCE[torch.float32]  # the original's are float32
    for i, spec in enumerate(json.loads(_metadata(file)["specs"])):
        words, shares, pictures = spec["action_seq"], spec["action_speed_list"], spec["pixel_frames"]
        runs = runs_of(words, shares, pictures)
        name = f"trajectories.{i}"
        held = [(keys_of(word), count) for word, count in spec["runs"]]
        yield compare_exactly(f"{name}.runs", _held(runs), _held(held))
        motions = [motion_of(keys, PICTURE_SPEEDS) for keys, count in runs for _ in range(count)]
        yield compare(f"{name}.c2w", integrate(motions)[1:], data[f"{i}.c2w"], tol)
        path = Trajectory.from_actions(words, shares, pictures)
        yield compare(f"{name}.viewmats", path.viewmats, data[f"{i}.viewmats"], tol)
        yield compare(f"{name}.Ks", path.intrinsics, data[f"{i}.Ks"], tol)
        if (wanted := data.get(f"{i}.viewmats_chunk_relative")) is not None:
            origins = [path.c2w[max(0, k // n * n - 1)] for k in range(len(path))]
            yield compare(f"{name}.viewmats_chunk_relative", path.viewmats @ np.stack(origins), wanted, tol)


def check_forward(folder: Path, device: torch.device, dtype: torch.dtype, tol: float) -> Iterator[Item]:
    """Every call of the network in the rollout; of some, the cache after it, and both attentions."""
    walk = _Walk(folder, device, dtype)
    inside = {}
    if (file := folder / "dit_inside.safetensors").is_file():
        inside = load_file(file)
    calls, n = load_file(folder / "dit_forward.safetensors"), DREAMX_5B.chunk_latents
    for chunk in range(walk.latents // n):
        walk.memory.begin()
        steps = {name.split(".")[1] for name in calls if name.startswith(f"chunk{chunk}.")}
        for step in (*sorted(steps - {"context"}), "context"):
            name = f"chunk{chunk}.{step}"
            seen: dict[str, Tensor] = {}
            with _Watched(walk.model, name, inside, seen):
                flow = walk.flow(chunk, calls[f"{name}.latents"], calls[f"{name}.timestep"])
            yield compare(f"dit.{name}.flow", flow, calls[f"{name}.flow"], tol)
            if (wanted := calls.get(f"{name}.x0")) is not None:
                clean = walk.clean(calls[f"{name}.latents"], flow, calls[f"{name}.timestep"])
                yield compare(f"dit.{name}.x0", clean, wanted, tol)
            for key, tensor in seen.items():
                yield compare(f"dit.{key}", tensor, inside[key], tol)
        walk.memory.commit()
        for key in inside:
            parts = key.split(".")
            if parts[0] == f"chunk{chunk}" and len(parts) == 3:
                layer = int(parts[1].removeprefix("block"))
                yield compare(f"dit.{key}", walk.kept(layer)[parts[2]], inside[key], tol)


def check_without_camera(folder: Path, device: torch.device, dtype: torch.dtype, tol: float) -> Iterator[Item]:
    """A forward without cameras, which leaves the camera branch out."""
    walk, data = _Walk(folder, device, dtype), load_file(folder / "dit_without_camera.safetensors")
    shape = data["latents"].shape
    timestep = data["timestep"].reshape(1, -1).expand(1, shape[2])
    flow = walk.flow(None, data["latents"], timestep)
    yield compare("dit_without_camera.flow", flow, data["flow"], tol)


def check_rollout(folder: Path, device: torch.device, dtype: torch.dtype, tol: float) -> Iterator[Item]:
    """The whole loop along the file's path with its noise; the latents that each chunk attends to."""
    file, recipe = folder / "rollout.safetensors", recipe_of(folder)
    data, settings, n = load_file(file), _metadata(file), recipe.chunk_latents
    walker = Walker(load_dit(folder / WEIGHTS, device=device, dtype=dtype), recipe=recipe, device=device, dtype=dtype)
    world = walker.begin(data["text"], first_frame=data["first_frame_latent"])
    words, shares = (json.loads(settings[name]) for name in ("action_seq", "action_speed_list"))
    path = Trajectory.from_actions(words, shares, frames_in(data["noise"].shape[2]))
    noise = zip(data["noise"].split(n, dim=2), data["renoise"], strict=True)
    for cameras, (first, later) in zip(path.split(n), noise, strict=True):
        world = walker.step(world, cameras, noise=torch.stack([first, *later.unsqueeze(1)])).world
    attended = [[*kept, *range(n * i, n * i + n)] for i, kept in enumerate(world.memory_frames)]
    yield compare_exactly("rollout.cached_latents", attended, json.loads(settings["cached_latents"]))
    yield compare("rollout.latents", world.latents, data["latents"], tol)


def check_colours(folder: Path, device: torch.device) -> Iterator[Item]:
    """Colours matched from chunk to chunk, at every strength in the file; float32, as they always are."""
    data = load_file(folder / "colour_correction.safetensors")
    video = data["video"].to(device).permute(0, 4, 1, 2, 3) / 127.5 - 1
    chunks = frames_in(DREAMX_5B.chunk_latents), VAE_TEMPORAL_STRIDE * DREAMX_5B.chunk_latents
    for name in sorted(data.keys() - {"video"}):
        reference, shown = None, []
        later = video[:, :, chunks[0] :].split(chunks[1], dim=2) if video.shape[2] > chunks[0] else ()
        for part in (video[:, :, : chunks[0]], *later):
            match = ColourMatch(reference, float(name.removeprefix("corrected_")))
            shown.append(match(part))
            reference = match.after
        got = (torch.cat(shown, dim=2) + 1).permute(0, 2, 3, 4, 1) * 127.5
        yield compare(f"colour_correction.{name}", got, data[name], TOLERANCE[torch.float32])


class _Walk:
    """The network, its cache, and what the rollout's forwards are given beside their latents."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        self.model = load_dit(folder / WEIGHTS, device=device, dtype=dtype)
        self._data = {key: tensor.to(device) for key, tensor in load_file(folder / "rollout.safetensors").items()}
        self._dtype, self._device = dtype, device
        self._text_kv = self.model.text_keys_values(self._data["text"].to(dtype))
        recipe = recipe_of(folder)
        assert isinstance(recipe.memory, Rolling)
        *_, self.latents, h, w = self._data["noise"].shape
        self.memory = RollingMemory(
            self.model.config,
            window=recipe.memory.window,
            sink=recipe.memory.sink,
            chunk=recipe.chunk_latents,
            tokens_per_frame=h * w // PATCH**2,
            rotated=recipe.memory.rotated,
            device=device,
            dtype=dtype,
        )

    def flow(self, chunk: int | None, latents: Tensor, timestep: Tensor) -> Tensor:
        """Float32; of no chunk: without cameras and cache."""
        x, t = latents.to(self._device, self._dtype), timestep.to(self._device)
        inputs = Inputs(x, t, self._text_kv)
        if chunk is not None:
            at = slice(chunk * x.shape[2], (chunk + 1) * x.shape[2])
            viewmats, intrinsics = self._data["viewmats"][:, at], self._data["Ks"][:, at]
            inputs = inputs._replace(memory=self.memory, viewmats=viewmats, intrinsics=intrinsics)
        flow = self.model(inputs)
        assert flow is not None
        return flow.float()

    def clean(self, latents: Tensor, flow: Tensor, timestep: Tensor) -> Tensor:
        """The clean estimate, by the sigmas nearest to the timesteps."""
        assert DREAMX_5B.shift is not None
        sigmas = torch.tensor([sigma_near(t, DREAMX_5B.shift) for t in timestep.flatten().tolist()])
        return latents.to(flow) - sigmas.to(flow)[:, None, None] * flow

    def kept(self, layer: int) -> dict[str, Tensor]:
        """Keys, normed and before RoPE, and values of a block, `[1, tokens, heads, d]`."""
        k, v = self.memory.read(layer)
        attention: Any = self.model.get_submodule(f"blocks.{layer}.self_attn")
        heads = (self.model.config.num_heads, self.model.config.head_dim)
        return {"k": attention.norm_k(k).flatten(1, 2).unflatten(-1, heads), "v": v.flatten(1, 2).unflatten(-1, heads)}


class _Watched:
    """What goes into and comes out of the attentions that the file `inside` has of this call, into `seen`."""

    def __init__(self, model: WanDiT, call: str, inside: dict[str, Tensor], seen: dict[str, Tensor]) -> None:
        names = {tuple(key.split(".")[2:4]) for key in inside if key.startswith(f"{call}.")}
        self._hooks = [
            model.get_submodule(f"blocks.{block.removeprefix('block')}.{attention}").register_forward_hook(
                self._keep(f"{call}.{block}.{attention}", seen)
            )
            for block, attention in names
        ]

    def _keep(self, name: str, seen: dict[str, Tensor]) -> Callable[..., None]:
        def keep(module: Any, args: tuple[Any, ...], out: Tensor | tuple[Tensor]) -> None:
            (result,) = out if isinstance(out, tuple) else (out,)
            seen[f"{name}.in"], seen[f"{name}.out"] = args[0].flatten(1, 2), result.flatten(1, 2)

        return keep

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()


def _held(runs: Runs) -> list[list[int]]:
    """The numbers of the keys held in each picture."""
    numbers = {key: number for number, key in enumerate(KEYS)}
    return [[numbers[key] for key in keys] for keys, count in runs for _ in range(count)]


def _metadata(file: Path) -> dict[str, str]:
    with safe_open(file, "pt") as opened:
        return dict(opened.metadata() or {})


def _settings(file: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(_metadata(file).get("config", "{}"))
    return settings
