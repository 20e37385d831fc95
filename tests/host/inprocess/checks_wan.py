"""Wan models without a camera in the host, beside the engine alone; and what is said where parts do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from workbench import (
    SEED,
    Walk,
    as_conditioning,
    differ,
    load,
    load_tiny,
    network_of,
    pack,
    prompt,
    random_state,
    refused,
    require,
    run_node,
    same,
    small_config,
    small_vae,
    walk,
    write_state,
)

SIZE = (32, 48)
CELLS = (4, 6)
"""Of the Wan 2.1 VAE; (2, 4) of that of Wan 2.2 at 32x64."""


def wan_config(**sizes: Any) -> Any:
    """A Wan 2.1 of a few thousand parameters."""
    return small_config(**{"num_layers": 2, "latent_channels": 16, "cameras": False, **sizes})


def wan_file(name: str, config: Any, seed: int = 3) -> str:
    return write_state(name, random_state(config, seed), config)


def made(model: Any, chunks: int = 2, *, size: tuple[int, int] = SIZE, **inputs: Any) -> Walk:
    """The Streaming Sampler without a path."""
    return walk(model, None, size=size, chunks=chunks, **inputs)


def engine(
    networks: list[Any], recipe: str, chunks: int, latent_size: tuple[int, int] = CELLS, **begins: Any
) -> Tensor:
    """Latents of the same chunks by the engine alone."""
    known = pack("hyworld.walk.recipes").recipe(recipe)
    walker = pack("hyworld.walk").Walker(networks[0], recipe=known, second=None if len(networks) == 1 else networks[1])
    text = prompt(networks[0].config.text_dim)[0][0]
    world = walker.begin(text, latent_size=latent_size, seed=SEED, **begins)
    for chunk in walker.walk(world, None, chunks):
        world = chunk.world
    return world.latents


def check_self_forcing_equals_the_engines() -> str:
    """Five chunks of three latents: in the rolling memory, with frames and a LATENT of the Wan 2.1 VAE."""
    config = wan_config()
    model = load(wan_file("Self-Forcing-tiny.safetensors", config))
    require(model.model.recipe(two=False).name == "self_forcing", "the file's name says the recipe")
    require(type(model.model.latent_format).__name__ == "Wan21", "the host knows what its latents are")
    vae = small_vae(16)
    ours = made(model, 5, vae=vae)
    expected = engine([network_of(config, random_state(config))], "self_forcing", 5)
    latents = same(ours.world.latents, expected, "latents of the world")
    host = pack("nodes.host.vae").HostVAE(vae)
    raw = same(ours.latents["samples"], host.denormalise(expected), "LATENT output")
    frames = vae.first_stage_model.decode(expected)
    off = float((ours.images - (frames[0].movedim(0, -1) / 2 + 0.5).clamp(0, 1)).abs().max()) * 255
    require(ours.images.shape == (57, *SIZE, 3) and ours.frame_count == 57, f"57 frames: {list(ours.images.shape)}")
    require(ours.world.size == SIZE, f"the world is {ours.world.size}")
    return f"{latents} {raw} " + require(off <= 0.51, f"frames within half a grey level: {off:.2f}")


def check_another_chunk_goes_on_in_the_same_world() -> str:
    """From a world on a socket, from one in a file's form, and by reuse of the last run."""
    config = wan_config()
    model, vae = load(wan_file("causal-forcing-tiny.safetensors", config)), small_vae(16)
    whole = made(model, 3, vae=vae)
    first = made(model, 2, vae=vae)
    onwards = made(model, 1, vae=vae, world=first.world)
    again = made(model, 3, vae=vae, reuse=True)
    return " ".join(
        (
            same(onwards.world.latents, whole.world.latents, "two chunks and one more, and three"),
            same(onwards.images, whole.images[-12:], "frames of the last of them"),
            same(again.world.latents, whole.world.latents, "with reuse"),
        )
    )


def check_the_recipe_is_chosen_in_the_loader() -> str:
    config = wan_config()
    name = wan_file("unnamed.safetensors", config)
    told = refused(lambda: load(name), "unnamed.safetensors", "self_forcing", "causal_forcing_framewise", "wan21_t2v")
    framewise = made(load(name, recipe="causal_forcing_framewise"), 3)
    expected = engine([network_of(config, random_state(config))], "causal_forcing_framewise", 3)
    evidence = same(framewise.world.latents, expected, "one latent at a time")
    other = refused(lambda: load(name, recipe="ti2v_5b"), "ti2v_5b", "unnamed.safetensors")
    nothing = refused(lambda: load(name, recipe="best"), "There is no recipe 'best': choose one of auto, worldplay")
    return f"{told} | {evidence} | {other} | {nothing}"


def check_which_weights_of_a_released_file() -> str:
    config = wan_config(num_heads=12, head_dim=128, num_layers=1)
    sets = {"generator": random_state(config, 3), "generator_ema": random_state(config, 4)}
    folder = pack("nodes.host.model").folder_paths.get_folder_paths("diffusion_models")[0]
    torch.save(
        {key: {f"model.{name}": tensor for name, tensor in state.items()} for key, state in sets.items()},
        f"{folder}/self_forcing_dmd.pt",
    )
    weight = "blocks.0.ffn.0.weight"
    found = {
        choice: load("self_forcing_dmd.pt", ema=choice).model.diffusion_model.state_dict()[weight]
        for choice in ("auto", "ema", "raw")
    }
    return " ".join(
        (
            same(found["auto"], sets["generator_ema"][weight], "auto and the averaged weights"),
            same(found["ema"], sets["generator_ema"][weight], "ema and the averaged weights"),
            same(found["raw"], sets["generator"][weight], "raw and the others"),
        )
    )


def check_what_a_model_without_cameras_is_not_given() -> str:
    config = wan_config()
    model, vae = load(wan_file("self_forcing_refuses.safetensors", config)), small_vae(16)
    path = pack("hyworld").Trajectory.from_tokens("w-11")
    latent = {"samples": torch.zeros(1, 16, 1, *CELLS)}
    return " | ".join(
        (
            refused(lambda: walk(model, path, vae=vae, chunks=1), "follows no camera", "trajectory and actions"),
            refused(lambda: made(model, 0, vae=vae), "set chunks to 1 or more"),
            refused(lambda: made(load_tiny(), 1, size=(64, 64)), "follows a camera", "Camera Trajectory"),
            refused(lambda: made(model, 1, vae=vae, first_frame=latent), "self_forcing takes no picture"),
            refused(lambda: made(model, 1, vae=small_vae(48)), "VAE has 48 latent channels", "needs 16"),
            refused(lambda: made(model, 1, low_noise_model=model), "two"),
        )
    )


def check_a_negative_prompt_that_has_no_effect_is_said() -> str:
    config = wan_config()
    model = load(wan_file("self_forcing_negative.safetensors", config))
    plain = made(model, 1)
    notes: list[str] = []
    with pack_warnings(notes):
        told = made(model, 1, negative=prompt(config.text_dim))
    require(any("negative prompt has no effect" in note for note in notes), f"it is said: {notes}")
    return same(told.world.latents, plain.world.latents, "with a negative prompt and without")
