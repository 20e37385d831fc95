"""Wan models without a camera in the host, beside the engine alone; and what is said where parts do not fit."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

import torch
from checks_lora import diffusers, low_rank, patched_as_merged, peft, warnings_of_the_host, with_lora
from torch import Tensor
from workbench import (
    SEED,
    Walk,
    close,
    differ,
    encoded,
    load,
    load_tiny,
    network_of,
    pack,
    prompt,
    random_file,
    random_state,
    refused,
    require,
    run_node,
    same,
    small_config,
    small_vae,
    walk,
    walked_alone,
)

SIZE = (32, 48)
CELLS = (4, 6)
"""Of the Wan 2.1 VAE; (2, 4) of that of Wan 2.2 at 32x64."""


def wan_config(**sizes: Any) -> Any:
    """A Wan 2.1 of a few thousand parameters."""
    return small_config(**{"num_layers": 2, "latent_channels": 16, "cameras": False, **sizes})


@contextmanager
def quick(model: Any, known: str, **changes: Any) -> Iterator[str]:
    """Have `model` walked by a recipe as the known one, but in short chunks and few steps; gives its name."""
    recipes, memory = pack("hyworld.walk.recipes"), pack("hyworld.walk").Rolling(window=6)
    short = {"chunk_latents": 3, "memory": memory, "advance": "euler", "timesteps": (1000.0, 700.0), "sigmas": ()}
    name = f"quick_{known}"
    recipes.RECIPES[name] = replace(recipes.recipe(known), name=name, **{**short, **changes})
    model.model.asked = pack("nodes.host.model").Asked(name)
    try:
        yield name
    finally:
        del recipes.RECIPES[name]


def made(model: Any, chunks: int = 2, *, size: tuple[int, int] = SIZE, **inputs: Any) -> Walk:
    """The Streaming Sampler without a path."""
    return walk(model, None, size=size, chunks=chunks, **inputs)


def engine(
    networks: list[Any], recipe: str, chunks: int, latent_size: tuple[int, int] = CELLS, **begins: Any
) -> Tensor:
    """Latents of the same chunks by the engine alone."""
    first, second = networks if len(networks) == 2 else (*networks, None)
    known = pack("hyworld.walk.recipes").recipe(recipe)
    return walked_alone(first, latent_size, None, chunks, recipe=known, second=second, **begins)


def check_self_forcing_equals_the_engines() -> str:
    """Five chunks of three latents: in the rolling memory, with frames and a LATENT of the Wan 2.1 VAE."""
    config = wan_config()
    model = load(random_file("Self-Forcing-tiny.safetensors", config))
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
    model, vae = load(random_file("causal-forcing-tiny.safetensors", config)), small_vae(16)
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
    name = random_file("unnamed.safetensors", config)
    told = refused(lambda: load(name), "unnamed.safetensors", "self_forcing", "causal_forcing_framewise", "wan21_t2v")
    framewise = made(load(name, recipe="causal_forcing_framewise"), 3)
    expected = engine([network_of(config, random_state(config))], "causal_forcing_framewise", 3)
    evidence = same(framewise.world.latents, expected, "one latent at a time")
    other = refused(lambda: load(name, recipe="ti2v_5b"), "ti2v_5b", "unnamed.safetensors")
    nothing = refused(lambda: load(name, recipe="best"), "There is no recipe 'best': choose one of auto, worldplay")
    return f"{told} | {evidence} | {other} | {nothing}"


def check_settings_are_chosen_in_the_loader() -> str:
    file = random_file("settings.safetensors", wan_config())
    given = {"recipe": "wan21_t2v", "steps": 7, "shift": 3.0, "guidance": 2.5}
    recipe, released = (load(file, **chosen).model.recipe(two=False) for chosen in (given, {"recipe": "wan21_t2v"}))
    told = (recipe.steps, recipe.shift, recipe.guidance, released.steps, released.shift, released.guidance)
    require(told == (7, 3.0, 2.5, 50, 8.0, 6.0), f"{told}")
    return "; ".join(
        (
            refused(lambda: load(file, recipe="self_forcing", steps=3), "distilled to 4 steps"),
            refused(lambda: load(file, recipe="wan21_t2v", guidance=0.5), "must be 1 (none) or more"),
            refused(lambda: load(pack("nodes.host.model").RANDOM_NAME, shift=3.0), "fixed"),
            refused(lambda: load(file, recipe="self_forcing", remembered="12"), "self_forcing remembers a window"),
            refused(lambda: load(file, recipe="wan22_t2v_14b", remembered="8"), "wan22_t2v_14b remembers a window"),
        )
    )


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
    model, vae = load(random_file("self_forcing_refuses.safetensors", config)), small_vae(16)
    path = pack("hyworld").Trajectory.from_tokens("w-11")
    latent = {"samples": torch.zeros(1, 16, 1, *CELLS)}
    return " | ".join(
        (
            refused(lambda: walk(model, path, vae=vae, chunks=1), "follows no camera", "trajectory and actions"),
            refused(lambda: made(model, 0, vae=vae), "set chunks to 1 or more"),
            refused(lambda: made(load_tiny(), 1, size=(64, 64)), "follows a camera", "Camera Trajectory"),
            refused(lambda: made(model, 1, vae=vae, first_frame=latent), "self_forcing takes no picture"),
            refused(
                lambda: made(model, 1, vae=small_vae(48)), "This is a Wan 2.2 VAE (48 channels)", "give the Wan 2.1 VAE"
            ),
            refused(lambda: made(model, 1, low_noise_model=model), "several ways", "choose it in Load HY-WorldPlay"),
        )
    )


def check_a_negative_prompt_that_has_no_effect_is_said() -> str:
    config = wan_config()
    model = load(random_file("self_forcing_negative.safetensors", config))
    plain = made(model, 1)
    with warnings_of_the_host() as notes:
        told = made(model, 1, negative=prompt(config.text_dim))
    require(any("negative prompt has no effect" in note for note in notes), f"it is said: {notes}")
    return same(told.world.latents, plain.world.latents, "with a negative prompt and without")


NEGATIVE_SEED = 6


def negative(text_dim: int) -> list[list[Any]]:
    return [[torch.randn(1, 5, text_dim, generator=torch.Generator().manual_seed(NEGATIVE_SEED)), {}]]


def words(conditioning: list[list[Any]]) -> Any:
    return pack("hyworld.walk").Words(conditioning[0][0])


def picture() -> Tensor:
    """IMAGE, as Load Image gives it."""
    return torch.rand(1, 40, 60, 3, generator=torch.Generator().manual_seed(4))


def check_ti2v_from_words_and_from_a_picture() -> str:
    """Guided by a negative prompt; two chunks."""
    config, size, cells = wan_config(latent_channels=48), (32, 64), (2, 4)
    model, vae = load(random_file("ti2v.safetensors", config)), small_vae(48)
    network, away = network_of(config, random_state(config)), negative(config.text_dim)
    first, _ = encoded(picture(), vae, size)
    latent = pack("nodes.host.vae").HostVAE(vae).normalise(first["samples"])
    with quick(model, "ti2v_5b") as recipe:
        text = made(model, 2, size=size, negative=away)
        image = made(model, 2, vae=vae, first_frame=first, negative=away)
        told = {"negative": words(away)}
        alone = [
            engine([network], recipe, 2, cells, **told),
            engine([network], recipe, 2, cells, first_frame=latent, **told),
        ]
        missing = refused(lambda: made(model, 1, size=size), "is guided", "negative prompt")
    require(text.world.negative is not None, "the world keeps its negative prompt")
    held = same(image.latents["samples"][:, :, :1], first["samples"], "the picture's latent, which stays")
    return " | ".join(
        (
            missing,
            held,
            same(text.world.latents, alone[0], "from words"),
            same(image.world.latents, alone[1], "from a picture"),
            differ(text.world.latents, image.world.latents, "words and picture"),
        )
    )


def check_ti2v_as_released_needs_its_solver() -> str:
    config = wan_config(latent_channels=48, num_layers=1)
    model, away = load(random_file("ti2v_released.safetensors", config)), negative(config.text_dim)
    if importlib.util.find_spec("diffusers") is None:
        return refused(
            lambda: made(model, 1, size=(32, 32), negative=away), "ti2v_5b samples with UniPC", "pip install"
        )
    ours = made(model, 1, size=(32, 32), negative=away)
    expected = engine([network_of(config, random_state(config))], "ti2v_5b", 1, (2, 2), negative=words(away))
    return same(ours.world.latents, expected, "31 latents in 50 steps")


def check_the_picture_in_channels_and_in_clip_tokens() -> str:
    config = wan_config(image_channels=20, clip_dim=16)
    model, vae = load(random_file("i2v.safetensors", config)), small_vae(16)
    require(model.model.recipe(two=False).name == "wan21_i2v", "the tensors say the recipe")
    tokens = torch.randn(1, 9, 16, generator=torch.Generator().manual_seed(8))
    clip = SimpleNamespace(penultimate_hidden_states=tokens)
    away, (first, cropped) = negative(config.text_dim), encoded(picture(), vae, SIZE)
    video = torch.cat((cropped.movedim(-1, 0)[None] * 2 - 1, torch.zeros(1, 3, 8, *SIZE)), dim=2)
    latents = vae.first_stage_model.encode(video)
    given = {"vae": vae, "first_frame": first, "negative": away, "clip_vision_output": clip}
    with quick(model, "wan21_i2v") as recipe:
        ours = made(model, 1, **given)
        network = network_of(config, random_state(config))
        expected = engine([network], recipe, 1, first_frame=latents, negative=words(away), clip=tokens)
        refusals = (
            refused(
                lambda: made(model, 1, **{**given, "first_frame": {"samples": first["samples"]}}), "picture itself"
            ),
            refused(lambda: made(model, 1, **{**given, "clip_vision_output": None}), "CLIP tokens", "got none"),
            refused(lambda: made(model, 1, vae=vae, negative=away), "begins from a picture"),
        )
    near = close(ours.world.latents, expected, 1e-5, "picture in channels and tokens")  # the picture came as 0..1
    return f"{near} {' | '.join(refusals)}"


def check_two_networks() -> str:
    config = wan_config()
    names = [random_file(f"{side}.safetensors", config, seed) for side, seed in (("high", 3), ("low", 4))]
    high, low = (load(name, recipe="wan22_t2v_14b") for name in names)
    away = negative(config.text_dim)
    networks = [network_of(config, random_state(config, seed)) for seed in (3, 4)]
    with quick(high, "wan22_t2v_14b") as recipe:
        ours = made(high, 2, low_noise_model=low, negative=away)
        expected = engine(networks, recipe, 2, negative=words(away))
        swapped = engine(networks[::-1], recipe, 2, negative=words(away))
        alone = refused(lambda: made(high, 1, negative=away), "give both of its networks")
        again = made(high, 2, low_noise_model=high, negative=away, reuse=True)
    return " ".join(
        (
            same(ours.world.latents, expected, "two networks"),
            differ(swapped, expected, "from the two the other way round"),
            differ(again.world.latents, expected, "with reuse, but another second network"),
            alone,
        )
    )


def check_loras_by_native_and_diffusers_names() -> str:
    config = wan_config(image_channels=20, clip_dim=16)
    state = random_state(config)
    plain = load(random_file("for_wan_lora.safetensors", config))
    layers = ("blocks.0.self_attn.q", "blocks.1.ffn.0", "blocks.1.cross_attn.k_img", "blocks.0.cross_attn.o")
    pairs = low_rank(layers, config)
    files = {"native names": peft(pairs), "diffusers' names": peft(diffusers(pairs), "transformer.")}
    evidence = []
    for what, keys in files.items():
        with warnings_of_the_host() as warned:
            changed = with_lora(plain, keys)
        require(not warned and not pack("nodes.host.lora").lora_notes(changed), f"nothing to say, {warned}")
        evidence.append(patched_as_merged(changed, state, pairs, what))
    nothing = with_lora(plain, {"blocks.0.nowhere.lora_A.weight": torch.ones(2, 2)})
    (note,) = pack("nodes.host.lora").lora_notes(nothing)
    return " ".join(evidence) + require("which is a Wan 2.1 of 2 blocks" in note, note)


def check_a_world_is_saved_loaded_shown_and_gone_on_in() -> str:
    config = wan_config(latent_channels=48)
    model, away = load(random_file("ti2v_saved.safetensors", config)), negative(config.text_dim)
    with quick(model, "ti2v_5b"):
        whole = made(model, 3, size=(32, 64), negative=away)
        two = made(model, 2, size=(32, 64), negative=away)
        path = two.world.save(pack("nodes.host.video").unfinished_folder() / "wan.world")
        loaded = pack("hyworld.walk").World.load(path)
        onwards = made(model, 1, world=loaded, positive=prompt(config.text_dim))
    maps, listing = run_node("HYWorldMemoryInspector", world=loaded, chunk=0)
    require(
        len(maps) == 2 and "chunk 2 (latents 4-6) remembered" in listing, f"the Memory Inspector shows it: {listing}"
    )
    return same(onwards.world.latents, whole.world.latents, "two chunks, saved and loaded, and one more")


class Company:
    """Stands for a place with a page in it that stops the walk after so many chunks."""

    def __init__(self, chunks: int) -> None:
        self.room = MagicMock()
        self.room.made.side_effect = lambda made: made.chunk.index + 1 == chunks and self._walk.stop()
        self.remark = ""
        self.is_left = False

    def begin(self, walk: Any, *, heeds_words: bool) -> None:
        self._walk = walk
        self.began = {"steers": walk.steers, "goes on": walk.goes_on, "words": heeds_words}

    def require_company(self) -> None: ...


def check_it_goes_on_by_itself_live() -> str:
    config = wan_config()
    model, vae = load(random_file("self_forcing_live.safetensors", config)), small_vae(16)
    company = Company(3)
    with patch.object(pack("nodes.live"), "place_of_running_node", lambda: nullcontext(company)):
        _, world, path = run_node(
            "HYWorldLiveWalk",
            model=model,
            positive=prompt(config.text_dim),
            vae=vae,
            seed=SEED,
            height=SIZE[0],
            width=SIZE[1],
        )
    require(company.began == {"steers": False, "goes on": True, "words": True}, f"{company.began}")
    require(len(path) == 9, f"a path of {len(path)} latents")
    return same(world.latents, made(model, 3, vae=vae).world.latents, "three chunks live and in the sampler")


def check_a_guided_model_is_not_walked_live() -> str:
    model, vae = load(random_file("live_t2v.safetensors", wan_config()), recipe="wan21_t2v"), small_vae(16)
    given = {"model": model, "positive": prompt(wan_config().text_dim), "vae": vae}
    company = nullcontext(Company(1))
    with quick(model, "wan21_t2v"), patch.object(pack("nodes.live"), "place_of_running_node", lambda: company):
        return refused(lambda: run_node("HYWorldLiveWalk", **given), "needs guidance", "use the Streaming Sampler")
