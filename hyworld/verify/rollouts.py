"""Whole walks of streaming Wan models, through the real `Walker`: rollout_*; and the schedules alone: schedulers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..config import VAE_TEMPORAL_STRIDE, frames_in
from ..walk import Recipe, Rolling, Walker, Words
from ..walk.recipe import Picture
from ..walk.samplers import missing_package, sampler
from ..walk.schedules import evenly, step_list, unipc
from ..weights import load_dit, load_vae
from .decoders import decode_by
from .report import Item, compare

STRIDES = {"vae_wan21": 8, "vae_wan22": 16}
BOUNDARY = 875.0
"""Of the dual networks in files that do not say."""


def config_of(file: Path) -> dict[str, Any]:
    """The settings in a file's metadata; empty if it has none."""
    with safe_open(file, "pt") as opened:
        config: dict[str, Any] = json.loads((opened.metadata() or {}).get("config", "{}"))
    return config


def recipe_of(config: Mapping[str, Any]) -> Recipe:
    """The recipe that a rollout's settings describe."""
    stream, guided_by = config["stream"], config["stream"].get("guidance_scale", 1.0)
    picture: Picture | None = None
    if stream.get("stamp_image_latent"):
        picture = "stamp"
    elif stream.get("concat_image_mask_to_latent"):
        picture = "channels"
    return Recipe(
        name=config.get("pipeline", "rollout"),
        chunk_latents=stream["len_t"],
        memory=Rolling(
            window=stream["window_size_t"],
            sink=stream.get("sink_size_t", 0),
            rotated=config["network"].get("apply_rope_before_kvcache", True),
        ),
        context_timestep=config.get("context_timestep", config.get("context_noise", 0)),
        context_noise=config.get("context_noise", 0),
        picture=picture,
        picture_timestep=0.0 if stream.get("ti2v_first_frame_per_token_timestep") else None,
        guidance=guided_by,
        boundary=config.get("boundary", BOUNDARY) if len(config["weights"]) == 2 else None,
        spatial_stride=STRIDES.get(config.get("vae", {}).get("name", ""), 16),
        **_schedule(config["scheduler"]),
    )


def check_rollout(
    weights: list[Path], vae: Path, file: Path, device: torch.device, dtype: torch.dtype, tol: float
) -> Iterator[Item]:
    """Timesteps, sigmas, latents of a walk with the file's noise; the encoded picture and frames, if it has them.

    vae: its weights; pictures are compared only if that file is there.
    """
    name, config, data = file.stem, config_of(file), load_file(file)
    recipe = recipe_of(config)
    yield compare(f"{name}.timesteps", torch.tensor(recipe.timesteps), data["timesteps"], tol)
    yield compare(f"{name}.sigmas", torch.tensor(recipe.sigmas[: len(data["sigmas"])]), data["sigmas"], tol)
    if (missing := missing_package(recipe)) is not None:
        yield Item(f"{name}.latents", skipped=True, note=missing)
        return

    network, *rest = (load_dit(path, device=device, dtype=dtype) for path in weights)
    walker = Walker(network, second=rest[0] if rest else None, recipe=recipe, device=device, dtype=dtype)
    negative, clip, picture = (data.get(key) for key in ("negative_text", "clip", "image_latent"))
    if picture is not None and recipe.picture == "stamp":
        picture = picture[:, :, :1]  # the mask marks the first latent alone
    *_, h, w = data["noise"].shape
    world = walker.begin(
        data["text"],
        negative=None if negative is None else Words(negative),
        clip=clip,
        first_frame=picture,
        latent_size=(h, w),
    )
    for noise in data["noise"]:
        world = walker.step(world, noise=noise.unsqueeze(1)).world
    yield compare(f"{name}.latents", world.latents, data["latents"], tol)
    if vae.is_file():
        yield from _check_pictures(name, recipe, vae, data, world.latents, device, dtype, tol)


def _check_pictures(
    name: str,
    recipe: Recipe,
    file: Path,
    data: Mapping[str, Tensor],
    latents: Tensor,
    device: torch.device,
    dtype: torch.dtype,
    tol: float,
) -> Iterator[Item]:
    vae = load_vae(file, device=device, dtype=dtype)
    if "image" in data:
        black = torch.zeros(1, 3, frames_in(data["image_latent"].shape[2]) - 1, *data["image"].shape[3:])
        video = torch.cat((data["image"], black), dim=2).to(device, dtype)
        yield compare(f"{name}.image_latent", vae.encode(video), data["image_latent"], tol)
    if "frames" in data:
        wanted = data["frames"]
        shown = latents[:, :, : (wanted.shape[2] - 1) // VAE_TEMPORAL_STRIDE + 1].to(device, dtype)
        frames = decode_by(vae, shown, recipe.chunk_latents).clamp(-1, 1)
        yield compare(f"{name}.frames", frames, wanted, tol)


def check_schedulers(file: Path, tol: float) -> Iterator[Item]:
    """Timesteps, sigmas, and the states that a sampler goes through with a made-up flow."""
    data = load_file(file)
    for name, settings in config_of(file).items():
        case = {key.removeprefix(f"{name}."): value for key, value in data.items() if key.startswith(f"{name}.")}
        recipe = Recipe(name=name, memory=Rolling(4), **_schedule(settings))
        wanted = case["timesteps"][: recipe.steps]  # Euler's list the end as well
        yield compare(f"schedulers.{name}.timesteps", torch.tensor(recipe.timesteps), wanted, tol)
        sigmas = torch.tensor(recipe.sigmas[: len(case["sigmas"])])
        yield compare(f"schedulers.{name}.sigmas", sigmas, case["sigmas"], tol)
        if (missing := missing_package(recipe)) is not None:
            yield Item(f"schedulers.{name}.states", skipped=True, note=missing)
            continue
        states = list(_states(recipe, data["initial"], case.get("noise")))
        yield compare(f"schedulers.{name}.states", torch.cat(states[:-1]), case["states"], tol)
        yield compare(f"schedulers.{name}.result", states[-1], case["result"], tol)


def _states(recipe: Recipe, x: Tensor, noise: Tensor | None) -> Iterator[Tensor]:
    steps = sampler(recipe, lambda k: noise[k - 1].unsqueeze(0) if noise is not None else x)
    for step, timestep in enumerate(recipe.timesteps):
        yield x
        x = steps.advance(x, 0.5 * x - torch.tanh(x + timestep / 1000), step)
    yield x


def _schedule(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a recipe for a file's scheduler."""
    shift = settings.get("shift", 1.0)
    if fixed := settings.get("fixed_timesteps"):
        return {"advance": "euler", "timesteps": tuple(fixed[:-1])}
    if steps := settings.get("denoising_timesteps"):
        schedule = step_list(steps, shift, warped=settings.get("warp_denoising_step", True))
        return {"advance": "renoise", "shift": shift, **schedule._asdict()}
    count = settings["num_inference_steps"]
    if settings.get("kind") == "euler":
        return {"advance": "euler", "shift": shift, **evenly(count, shift)._asdict()}
    return {"advance": "unipc", "shift": shift, **unipc(count, shift)._asdict()}
