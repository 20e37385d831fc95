"""DreamX-World in the host, beside the engine alone; and what is said where parts do not fit."""

from __future__ import annotations

from typing import Any

import torch
from checks_lora import kohya, low_rank, patched_as_merged, peft, with_lora
from checks_saving import saved
from checks_wrappers import Recorder
from comfy_api.torch_helpers import set_torch_compile_wrapper
from torch import Tensor
from workbench import (
    Walk,
    close,
    differ,
    load,
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

PATH = "w-4, w+left-4"
"""9 latents: 3 chunks."""

SIZE = (32, 64)
CELLS = (2, 4)


def dreamx_config() -> Any:
    return small_config(num_layers=2, latent_channels=48, camera_width=16)


def dreamx_model(name: str = "dreamx.safetensors", **chosen: Any) -> Any:
    return load(random_file(name, dreamx_config()), **chosen)


def path_of(text: str = PATH, **inputs: Any) -> Any:
    """From Camera Trajectory."""
    return run_node("HYWorldCameraTrajectory", path=text, **{"pace": "DreamX-World", **inputs})[0]


def made(model: Any, path: Any = None, **inputs: Any) -> Walk:
    return walk(model, path or path_of(), **{"size": SIZE, **inputs})


def engine(path: Any) -> Tensor:
    config = dreamx_config()
    recipe = pack("hyworld.walk.recipes").DREAMX_5B
    return walked_alone(network_of(config, random_state(config)), CELLS, path, recipe=recipe)


def check_a_walk_equals_the_engines() -> str:
    model = dreamx_model()
    require(model.model.recipe(two=False).name == "dreamx_5b", "the tensors say the recipe")
    path = path_of()
    require(path.chunks == 3 and abs(path.c2w[1, 2, 3] - 0.075) < 1e-9, "at this model's pace")
    ours = made(model, path)
    require(ours.frame_count == 33 and ours.images.shape == (33, *SIZE, 3), f"33 frames: {ours.frame_count}")
    return same(ours.world.latents, engine(path), "three chunks")


def check_speeds_are_shares_of_its_own() -> str:
    half = path_of(move_speed=0.04).c2w
    presses = run_node("HYWorldActionSequence", keys="W*4, W+←*4", pace="DreamX-World")[0]
    return same(torch.tensor(presses.c2w), torch.tensor(path_of().c2w), "tokens and key presses") + require(
        abs(half[1, 2, 3] - 0.0375) < 1e-9, "half as fast"
    )


def check_another_chunk_goes_on_in_the_same_world() -> str:
    """From a world on a socket, from one in a file, and by reuse of the last run: frames with their colours, too."""
    model = dreamx_model()
    whole = made(model)
    two = made(model, path_of("w-4, w+left-1"))
    onwards = made(model, path_of("w+left-3"), world=two.world)
    file = two.world.save(pack("nodes.host.video").unfinished_folder() / "dreamx.world")
    loaded = made(model, path_of("w+left-3"), world=pack("hyworld.walk").World.load(file))
    again = made(model, reuse=True)
    maps, listing = run_node("HYWorldMemoryInspector", world=whole.world, chunk=0)
    require(len(maps) == 3 and "chunk 2 (latents 4-6) remembered" in listing, f"the Memory Inspector: {listing}")
    return " ".join(
        (
            close(onwards.world.latents, whole.world.latents, 1e-5, "two chunks and one more, and three"),
            same(loaded.world.latents, onwards.world.latents, "from a file"),
            same(loaded.images, onwards.images, "its frames"),
            same(again.images, whole.images, "with reuse"),
        )
    )


def check_colours_are_matched_as_asked() -> str:
    model = dreamx_model()
    plain, full = made(model, colour_match=0.0), made(model)
    require(all(step.colours is None for step in plain.world.history), "0 matches nothing")
    return same(plain.world.latents, full.world.latents, "latents") + differ(plain.images, full.images, "frames")


def check_what_does_not_fit_is_named() -> str:
    config, model = dreamx_config(), dreamx_model()
    state = random_state(config)
    surplus = {**state, "blocks.0.cam_self_attn.gate": torch.zeros(1)}
    few = {name: tensor for name, tensor in state.items() if "cam_self_attn.norm_q" not in name}
    return " | ".join(
        (
            refused(lambda: made(model, vae=small_vae(16)), "This is a Wan 2.1 VAE (16 channels)", "Wan 2.2 VAE"),
            refused(lambda: dreamx_model("DreamX-World-5B-Cam.safetensors"), "the bidirectional model"),
            refused(
                lambda: load(write_state("surplus.safetensors", surplus, config)), "1 unexpected", "cam_self_attn.gate"
            ),
            refused(lambda: load(write_state("few.safetensors", few, config)), "2 missing", "cam_self_attn.norm_q"),
            refused(lambda: dreamx_model(recipe="worldplay"), "choose dreamx_5b, dreamx_5b_bf16"),
            refused(lambda: walk(model, None, size=SIZE, chunks=2), "follows a camera"),
        )
    )


def check_a_path_at_another_pace_is_told() -> str:
    plan = pack("nodes.plan")
    model = dreamx_model()
    pipeline, _ = plan.pipeline_of(model, pack("nodes.host.vae").HostVAE(small_vae(48)), "full (the VAE)", "auto")
    world = pipeline.walker.begin(prompt(24)[0][0], latent_size=CELLS)
    _, notes = plan.parts_of(pipeline.walker, world, path_of(pace="WorldPlay"), None, 0)
    _, none = plan.parts_of(pipeline.walker, world, path_of(), None, 0)
    return require(any("as made for WorldPlay" in note for note in notes) and not none, f"{notes} {none}")


def check_loras_reach_the_camera_branch() -> str:
    config, model = dreamx_config(), dreamx_model()
    state = random_state(config)
    layers = ("blocks.0.cam_self_attn.q_proj", "blocks.1.cam_self_attn.out_proj", "blocks.1.self_attn.k")
    pairs = low_rank(layers, config)
    evidence = []
    for what, keys in (("PEFT", peft(pairs)), ("kohya", kohya(pairs))):
        evidence.append(patched_as_merged(with_lora(model, keys), state, pairs, what))
    return " ".join(evidence)


def check_fp8_weights_walk() -> str:
    model = dreamx_model()
    rounded = made(dreamx_model("dreamx_fp8.safetensors", weight_dtype="fp8_e4m3fn"))
    return differ(rounded.world.latents, made(model).world.latents, "rounded weights and exact ones")


def check_words_change_and_a_world_is_rewound_and_branched_from() -> str:
    model = dreamx_model()
    first = prompt(24)
    (words,) = run_node("HYWorldPromptSchedule", first=first, second=[[first[0][0] + 1, {}]], second_after=2)
    whole = made(model, positive=words)
    told = differ(whole.world.latents[:, :, 6:], made(model).world.latents[:, :, 6:], "with other words after chunk 2")
    (back,) = run_node("HYWorldRewindWorld", world=whole.world, chunks=2)
    again = made(model, path_of("w+left-3"), world=back, positive=words)
    other = made(model, path_of("s+right-3"), world=back, positive=words)
    return " ".join(
        (
            told,
            close(again.world.latents, whole.world.latents, 1e-5, "rewound and walked again"),
            same(other.world.latents[:, :, :6], whole.world.latents[:, :, :6], "the branch's past"),
            differ(other.world.latents, whole.world.latents, "the branch and the walk"),
        )
    )


def check_it_walks_compiled() -> str:
    config, recorder = small_config(num_layers=1, latent_channels=48, camera_width=16), Recorder()
    model, path = load(random_file("one_layer.safetensors", config)), path_of()
    with torch.inference_mode():
        compiled = model.clone()
        set_torch_compile_wrapper(compiled, backend=recorder)
    walked = made(compiled, path)
    forwards = 3 * 4 + 2
    require(recorder.runs == forwards, f"each of {forwards} forwards is one graph: {recorder.runs} ran")
    require(recorder.graphs < 8, f"fewer graphs than torch's limit of recompilations: {recorder.graphs}")
    return f"{recorder.graphs} graphs. " + close(
        walked.world.latents, made(model, path).world.latents, 1e-5, "compiled"
    )


def check_a_saved_model_loads_with_the_same_tensors() -> str:
    config = small_config(num_heads=12, head_dim=128, num_layers=1, latent_channels=48, camera_width=48)
    state = random_state(config)
    again = load(saved(load(write_state("wide_dreamx.safetensors", state)), "saved_dreamx"))
    found = again.model.diffusion_model.state_dict()
    require(again.model.recipe(two=False).name == "dreamx_5b", "it is still of its kind")
    require(found.keys() == state.keys(), f"{len(state)} tensors come back, found {len(found)}")
    require(all(torch.equal(found[name], state[name]) for name in state), "as they were")
    return f"{len(state)} tensors equal"
