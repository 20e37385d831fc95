"""The Streaming Sampler beside the engine it wraps, bit for bit; and MODELs and samplers that do not go together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import comfy.sd
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from workbench import (
    SEED,
    close,
    differ,
    encoded,
    engine_latents,
    latents_of,
    load,
    load_tiny,
    model_file,
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
    write_state,
)

import nodes

PATH = "w-4, right-7, w-4, left-4"
"""20 latents: the last chunk has to choose what it remembers."""

SENTENCE = "a quiet street in the rain"
SIZE = (64, 96)


def picture() -> Image.Image:
    noise = torch.randint(0, 256, (50, 90, 3), generator=torch.Generator().manual_seed(4), dtype=torch.uint8)
    return Image.fromarray(noise.numpy()).resize((180, 100))


def as_image(photo: Image.Image) -> Tensor:
    """IMAGE, as Load Image gives it."""
    pixels = torch.frombuffer(bytearray(photo.tobytes()), dtype=torch.uint8).view(1, photo.height, photo.width, 3)
    return pixels.float() / 255


def first_frame(vae: Any) -> dict[str, Tensor]:
    """LATENT of the picture."""
    return encoded(as_image(picture()), vae, SIZE)[0]


def as_bytes(images: Tensor) -> Tensor:
    """IMAGE → the uint8 frames it was made of."""
    return (images * 255).round().to(torch.uint8)


def check_a_whole_tiny_walk_equals_the_engines() -> str:
    """Picture, prompt, path and seed in, through the nodes of a whole workflow and the core node CLIP Text Encode."""
    vae, clip, _ = run_node("HYWorldTinyWorld")
    with torch.inference_mode():
        (positive,) = nodes.CLIPTextEncode().encode(clip, SENTENCE)
    first, host = first_frame(vae), pack("nodes.host.vae").HostVAE(vae)
    ours = walk(load(pack("nodes.host.model").TINY_NAME), PATH, vae=vae, positive=positive, first_frame=first)

    pipeline = pack("hyworld").load(device="cpu")
    encoded_alone = host.denormalise(pipeline.encode_picture(picture(), *SIZE))
    # LATENT sockets carry raw latents, and normalising those again rounds.
    world = pipeline.start(host.normalise(encoded_alone), SENTENCE, seed=SEED, size=SIZE)
    chunks = list(pipeline.walk(world, PATH))
    world = chunks[-1].world
    require(len(chunks) == 5 and len(chunks[4].memory_frames) == 16, "5 chunks, of which the last has a full memory")
    require(ours.frame_count == 77 == len(ours.images), f"77 frames, counted {ours.frame_count}")
    require(ours.world.memory_frames == tuple(chunk.memory_frames for chunk in chunks), "the same memories")
    return " ".join(
        (
            same(first["samples"], encoded_alone, "first frame"),
            same(ours.world.latents, world.latents, "latents of the world"),
            same(ours.latents["samples"], host.denormalise(world.latents), "LATENT output"),
            same(as_bytes(ours.images), torch.cat([chunk.frames for chunk in chunks]), "frames"),
        )
    )


def check_the_built_in_tiny_decoder_equals_the_engines() -> str:
    """Chosen by name, and by `auto` as Live Walk does; latents are those of the full one."""
    host_vae = pack("nodes.host.vae")
    vae, clip, _ = run_node("HYWorldTinyWorld")
    with torch.inference_mode():
        (positive,) = nodes.CLIPTextEncode().encode(clip, SENTENCE)
    first, model = first_frame(vae), load(pack("nodes.host.model").TINY_NAME)
    chosen = {"vae": vae, "positive": positive, "first_frame": first}
    full = walk(model, "w-3", **chosen)
    tiny = walk(model, "w-3", decoder=host_vae.BUILT_IN_DECODER, **chosen)
    auto = walk(model, "w-3", decoder=host_vae.AUTO_DECODER, **chosen)
    pipeline = pack("hyworld").load(device="cpu", decoder="tiny")
    world = pipeline.start(host_vae.HostVAE(vae).normalise(first["samples"]), SENTENCE, seed=SEED, size=SIZE)
    (chunk,) = pipeline.walk(world, "w-3")
    require({host_vae.FULL_DECODER, host_vae.BUILT_IN_DECODER} <= set(host_vae.decoder_names()), "both can be chosen")
    return " ".join(
        (
            same(as_bytes(tiny.images), chunk.frames, "frames by name"),
            same(as_bytes(auto.images), chunk.frames, "frames by auto"),
            same(tiny.world.latents, full.world.latents, "latents"),
            differ(tiny.images, full.images, "from the full decoder's frames"),
        )
    )


def check_the_decoder_in_fp8_is_the_engines() -> str:
    """Made once per VAE, by the plain functions here: a CPU has no others, and it is refused there."""
    host_vae = pack("nodes.host.vae")
    vae, clip, _ = run_node("HYWorldTinyWorld")
    with torch.inference_mode():
        (positive,) = nodes.CLIPTextEncode().encode(clip, SENTENCE)
    first, model = first_frame(vae), load(pack("nodes.host.model").TINY_NAME)
    chosen = {"vae": vae, "positive": positive, "first_frame": first}
    refusal = refused(
        lambda: walk(model, "w-3", decoder=host_vae.FP8_DECODER, **chosen),
        f"{host_vae.FP8_DECODER} cannot run: an NVIDIA card is needed; choose {host_vae.FULL_DECODER}",
    )
    missing, host_vae.fp8_convolutions_missing = host_vae.fp8_convolutions_missing, lambda device: None
    try:
        ours = walk(model, "w-3", decoder=host_vae.FP8_DECODER, **chosen)
        require(host_vae.HostVAE(vae).in_fp8() is host_vae.HostVAE(vae).in_fp8(), "one decoder per VAE")
    finally:
        host_vae.fp8_convolutions_missing = missing
    pipeline = pack("hyworld").load(device="cpu")
    pack("hyworld.vae.fp8_convolution").use_fp8_convolutions(pipeline.vae)
    world = pipeline.start(host_vae.HostVAE(vae).normalise(first["samples"]), SENTENCE, seed=SEED, size=SIZE)
    (chunk,) = pipeline.walk(world, "w-3")
    full = walk(model, "w-3", **chosen)
    return " ".join(
        (
            refusal,
            same(as_bytes(ours.images), chunk.frames, "frames"),
            differ(ours.images, full.images, "from the exact decoder's frames"),
        )
    )


def check_the_built_in_tiny_decoder_is_for_its_own_vae() -> str:
    host_vae = pack("nodes.host.vae")
    wan = host_vae.HostVAE(small_vae())
    require(host_vae.pick_decoder(host_vae.AUTO_DECODER, wan) is wan, "auto takes another model's VAE itself")
    return refused(
        lambda: host_vae.pick_decoder(host_vae.BUILT_IN_DECODER, wan),
        "reads latents of 24 channels, and this VAE's have 48",
        f"choose {host_vae.FULL_DECODER}",
    )


def check_a_walk_with_wan_statistics_equals_the_engines() -> str:
    """48 channels and the released means and deviations, which cancel nowhere: LATENT is raw, the network's is not."""
    config, vae = small_config(), small_vae()
    name = random_file("wan_like.safetensors", config)
    save_file(vae.first_stage_model.state_dict(), model_file("wan_like_vae.safetensors", "vae"))
    first = first_frame(vae)
    ours = walk(load(name), PATH, vae=vae, first_frame=first)

    pipeline = pack("hyworld").load(
        model_file(name), vae=model_file("wan_like_vae.safetensors", "vae"), device="cpu", dtype="float32"
    )
    host_vae = pack("nodes.host.vae").HostVAE(vae)
    exact = pipeline.encode_picture(picture(), *SIZE)
    near = close(host_vae.normalise(first["samples"]), exact, 1e-6, "first frame, out of LATENT and as encoded")
    world = pipeline.start(host_vae.normalise(first["samples"]), prompt(config.text_dim)[0][0], seed=SEED)
    chunks = list(pipeline.walk(world, PATH))
    world = chunks[-1].world
    require(not torch.allclose(ours.latents["samples"], ours.world.latents, atol=0.1), "the statistics are not trivial")
    return " ".join(
        (
            near,
            same(ours.world.latents, world.latents, "latents of the world"),
            same(ours.latents["samples"], host_vae.denormalise(world.latents), "LATENT output"),
            same(as_bytes(ours.images), torch.cat([chunk.frames for chunk in chunks]), "frames"),
        )
    )


def check_a_walk_from_the_prompt_alone_equals_the_engines() -> str:
    config = small_config()
    model = load(random_file("prompt_alone.safetensors", config))
    return same(latents_of(model, PATH), engine_latents(config, random_state(config), PATH), "latents of 5 chunks")


def check_a_world_goes_on_where_it_stood() -> str:
    """Two samplers, the second with the first one's world, equal one sampler over both paths."""
    model = load_tiny()
    whole = walk(model, "w-3, right-4, w-4")
    first = walk(model, "w-3, right-4")
    rest = walk(model, "w-4", world=first.world)
    require(rest.frame_count == 16, f"a later chunk has 16 frames, counted {rest.frame_count}")
    return " ".join(
        (
            close(rest.world.latents, whole.world.latents, 1e-4, "latents of a walk in two parts and in one"),
            close(torch.cat((first.images, rest.images)), whole.images, 5e-3, "its frames"),
        )
    )


def check_as_many_latents_are_remembered_as_the_loader_says() -> str:
    config, path = small_config(), "w-23"
    name = write_state("remembered.safetensors", random_state(config), config)
    known, recipes = pack("hyworld.modes"), pack("hyworld.walk.recipes")
    found, evidence = [], []
    for remembered in (16, 12, 8):
        given = {} if remembered == 16 else {"remembered": str(remembered)}
        world = walk(load(name, **given), path).world
        found.append(max(len(step.memory_frames) for step in world.history))
        recipe = known.remembering(recipes.WORLDPLAY, known.Modes(remembered=remembered))
        expected = walked_alone(network_of(config, random_state(config)), (4, 4), path, recipe=recipe)
        evidence.append(same(world.latents, expected, f"{remembered} remembered, the engine's"))
    require(found == [16, 12, 8], f"six chunks remember up to: {found}")
    return " ".join(
        (*evidence, refused(lambda: load(name, remembered="9"), "There is no remembered '9': choose one of 16, 12, 8."))
    )


def check_fp8_keys_are_kept_compact_on_small_cards_alone() -> str:
    kept, card = {}, torch.device("cuda")
    for fp8, gigabytes in ((False, 141), (True, 141), (True, 24)):
        network = SimpleNamespace(attends_in_fp8=fp8, fused=True, device=card)
        size = SimpleNamespace(total_memory=gigabytes * 10**9)
        with patch.object(torch.cuda, "get_device_properties", lambda device, size=size: size):
            kept[fp8, gigabytes] = pack("nodes.plan")._keeps_compact("auto", network)
    require(kept == {(False, 141): True, (True, 141): False, (True, 24): True}, f"{kept}")
    return f"compact by (fp8, GB): {kept}"


def check_a_preview_changes_nothing() -> str:
    model = load_tiny()
    return same(latents_of(model, preview=True), latents_of(model), "latents with the preview and without")


def wan21() -> Any:
    """A foreign MODEL: a Wan 2.1 of the host's own, two layers small."""
    width, ffn = 128, 256
    shapes = {
        "patch_embedding.weight": (width, 16, 1, 2, 2),
        "patch_embedding.bias": (width,),
        "text_embedding.0.weight": (width, 4096),
        "text_embedding.0.bias": (width,),
        "text_embedding.2.weight": (width, width),
        "text_embedding.2.bias": (width,),
        "time_embedding.0.weight": (width, 256),
        "time_embedding.0.bias": (width,),
        "time_embedding.2.weight": (width, width),
        "time_embedding.2.bias": (width,),
        "time_projection.1.weight": (6 * width, width),
        "time_projection.1.bias": (6 * width,),
        "head.head.weight": (64, width),
        "head.head.bias": (64,),
        "head.modulation": (1, 2, width),
    }
    for layer in range(2):
        shapes[f"blocks.{layer}.modulation"] = (1, 6, width)
        shapes |= {f"blocks.{layer}.norm3.{leaf}": (width,) for leaf in ("weight", "bias")}
        for attention in ("self_attn", "cross_attn"):
            shapes |= {f"blocks.{layer}.{attention}.norm_{part}.weight": (width,) for part in "qk"}
            shapes |= {f"blocks.{layer}.{attention}.{part}.weight": (width, width) for part in "qkvo"}
            shapes |= {f"blocks.{layer}.{attention}.{part}.bias": (width,) for part in "qkvo"}
        for index, (rows, columns) in enumerate(((ffn, width), (width, ffn))):
            shapes |= {f"blocks.{layer}.ffn.{2 * index}.weight": (rows, columns)}
            shapes |= {f"blocks.{layer}.ffn.{2 * index}.bias": (rows,)}
    with torch.inference_mode():
        return comfy.sd.load_diffusion_model_state_dict({key: torch.zeros(shape) for key, shape in shapes.items()})


def check_a_foreign_model_is_refused() -> str:
    foreign = wan21()
    name = type(foreign.model).__name__
    return refused(
        lambda: run_node(
            "HYWorldStreamingSampler",
            model=foreign,
            positive=prompt(24),
            vae=small_vae(),
            trajectory=pack("hyworld").Trajectory.from_tokens("w-3"),
            chunks=0,
            seed=0,
            decoder=pack("nodes.host.vae").FULL_DECODER,
            preview=False,
        ),
        f"This MODEL is a {name}, not HY-WorldPlay",
        "Load HY-WorldPlay Model",
    )


def k_sampler(model: Any, text_dim: int) -> None:
    """The core node KSampler, as users wire it."""
    channels = model.model.diffusion_model.config.latent_channels
    latent = {"samples": torch.zeros(1, channels, 4, 4, 4)}
    with torch.inference_mode():
        nodes.KSampler().sample(model, 0, 4, 1.0, "euler", "simple", prompt(text_dim), prompt(text_dim), latent, 1.0)


def check_a_k_sampler_is_told_which_sampler_to_use() -> str:
    config = small_config()
    model = load(random_file("for_ksampler.safetensors", config))
    evidence = refused(
        lambda: k_sampler(model, config.text_dim),
        "This model walks chunk by chunk",
        "sample it with the HY-WorldPlay Streaming Sampler",
        kind=RuntimeError,
    )
    tiny = refused(lambda: k_sampler(load_tiny(), 64), "HY-WorldPlay Streaming Sampler", kind=RuntimeError)
    require(tiny == evidence, "the tiny model says the same")
    exact = engine_latents(config, random_state(config))
    return f"{evidence} " + same(latents_of(model), exact, "afterwards, the right sampler")


def check_vae_and_prompt_of_another_model_are_refused() -> str:
    config = small_config()
    model = load(random_file("for_mismatch.safetensors", config))
    return " | ".join(
        (
            refused(lambda: walk(model, vae=small_vae(12)), "The VAE has 12 latent channels", "needs 48"),
            refused(
                lambda: walk(model, positive=prompt(64)),
                "must have the shape [1, tokens, 24], got [1, 7, 64]",
                "text encoder",
            ),
            refused(lambda: walk(load_tiny(), vae=small_vae(48)), "The VAE has 48 latent channels", "Tiny World"),
        )
    )


def check_a_3d_camera_is_the_first_pose_and_the_walk_the_same() -> str:
    """LOAD3D_CAMERA stands at (1, 2, 3) and looks along -x, in three.js' axes (y up)."""
    camera = {"position": {"x": 1, "y": 2, "z": 3}, "target": {"x": 0, "y": 2, "z": 3}, "zoom": 1}
    path, _, _ = run_node("HYWorldCameraTrajectory", path=PATH)
    placed, _, _ = run_node("HYWorldCameraTrajectory", path=PATH, camera={**camera, "cameraType": "perspective"})
    first, second = torch.from_numpy(placed.c2w[:2].copy())
    require(torch.allclose(first[:3, 3], torch.tensor([1.0, -2.0, -3.0]).double()), "y and z are turned over")
    ahead = (second - first)[:3, 3]
    require(torch.allclose(ahead, torch.tensor([-0.08, 0.0, 0.0]).double()), f"the walk goes along -x, not {ahead}")
    model = load_tiny()
    return close(walk(model, placed).world.latents, walk(model, path).world.latents, 1e-3, "the walk")
