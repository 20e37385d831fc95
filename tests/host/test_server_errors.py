"""What users get wrong, and the one sentence they get for it: before anything runs where possible, else as an error."""

from __future__ import annotations

import json

import pytest

from .client import Client, Prompt, RejectedError
from .results import assert_same, latents
from .server import ComfyServer
from .walks import SAMPLER, changed, node, sampler_node, walk

pytestmark = pytest.mark.host


def path(text: str) -> Prompt:
    return walk(text)


def keys(text: str, **inputs: object) -> Prompt:
    """A walk whose labels come from key presses."""
    return {**walk(actions=["keys", 1]), "keys": node("HYWorldActionSequence", keys=text, **inputs)}


def walked_by_keys(text: str, **sampler: object) -> Prompt:
    """A walk along the path of key presses."""
    return {**walk(trajectory=["keys", 0], **sampler), "keys": node("HYWorldActionSequence", keys=text)}


def without_picture(**sampler: object) -> Prompt:
    prompt = walk()
    del prompt["first"], prompt["picture"], prompt[SAMPLER]["inputs"]["first_frame"]
    return changed(prompt, SAMPLER, **sampler)


def joined_too_short() -> Prompt:
    """Two paths of 8 latents, one after the other."""
    prompt = walk("w-7", trajectory=["joined", 0], chunks=5)
    return {**prompt, "joined": node("HYWorldJoinTrajectories", first=["path", 0], then=["path", 0])}


def continued_too_short() -> Prompt:
    """The second walk's path has 4 latents, the first of which is where the first walk ended."""
    prompt = {**walk("w-3"), "on": sampler_node(world=[SAMPLER, 3])}
    return changed(prompt, "latents", samples=["on", 1])


REJECTED: dict[str, tuple[Prompt, str, str]] = {
    "joined path": (joined_too_short(), SAMPLER, "enough for 3 chunks of 4, but 5 chunks were asked for"),
    "path to go on": (continued_too_short(), "on", "one chunk takes 4: lengthen the path by 1 latent or more"),
    "no count": (path("w"), "path", 'Token 1 of the camera path, "w", lacks a count: the keys are w, s, a, d'),
    "no key": (path("w-4, -3"), "path", 'Token 2 of the camera path, "-3", lacks a key'),
    "negative count": (path("w--4"), "path", "has the negative count -4"),
    "count in words": (path("w-four"), "path", 'has the count "four", which is not a number'),
    "endless": (path("w-1e9"), "path", "has a count above 100000"),
    "unknown token": (path("w-4, jump-3"), "path", 'Token 2 of the camera path, "jump-3", has the unknown key "jump"'),
    "opposite keys": (path("left+right-7"), "path", 'has the opposite keys "left" and "right"'),
    "empty path": (path("  "), "path", "The camera path is empty"),
    "short path": (path("w-2"), "path", "The path has 3 latents, but one chunk takes 4: lengthen the path by 1 latent"),
    "broken JSON": (path('{"0": '), "path", "The camera path"),
    "no such file": (path("nowhere.json"), "path", 'The camera file "nowhere.json" is not in ComfyUI\'s input folder'),
    "file elsewhere": (path("../log.json"), "path", 'The camera file "../log.json" is not in ComfyUI\'s input folder'),
    "file at home": (path("~/poses.json"), "path", 'The camera file "~/poses.json" is not in ComfyUI\'s input folder'),
    "endless file name": (path("x" * 5000 + ".json"), "path", "xxx…\" is not in ComfyUI's input folder: put it there"),
    "empty keys": (keys(" , "), "keys", "There are no key presses: the keys are"),
    "unknown key": (keys("W*4, jump*3"), "keys", 'Entry 2 of the key presses, "jump*3", has the unknown key "jump"'),
    "width": (walk(width=100), "first", "The width must be a multiple of 32 pixels, got 100: choose 96 or 128."),
    "height": (walk(height=100), "first", "The height must be a multiple of 32 pixels, got 100: choose 96 or 128."),
    "negative width": (walk(width=-32), "first", "The width must be a multiple of 32 pixels, got -32"),
    "huge height": (walk(height=8192), "first", "8192 bigger than max of 4096: height"),
    "huge width": (walk(width=8192), "first", "The width must be at most 4096 pixels, got 8192"),
    "negative height": (walk(height=-32), "first", "-32 smaller than min of 16: height"),
    "sampler width": (without_picture(width=100, height=96), SAMPLER, "The width must be a multiple of 32 pixels, got"),
    "huge sampler width": (without_picture(width=8192), SAMPLER, "8192 bigger than max of 4096: width"),
    "chunks": (
        walk("w-7", chunks=5),
        SAMPLER,
        "The path has 8 latents, enough for 2 chunks of 4, but 5 chunks were asked for: lengthen the path by 12",
    ),
    "chunks of keys": (walked_by_keys("W*7", chunks=3), SAMPLER, "enough for 2 chunks of 4, but 3 chunks were asked"),
    "negative chunks": (walk(chunks=-1), SAMPLER, "The number of chunks must be 0 to 4096, got -1."),
    "huge chunks": (walk(chunks=5000), SAMPLER, "The number of chunks must be 0 to 4096, got 5000."),
    "negative seed": (walk(seed=-1), SAMPLER, "-1 smaller than min of 0: seed"),
    "huge seed": (walk(seed=2**64), SAMPLER, f"{2**64} bigger than max of {2**64 - 1}: seed"),
    "negative speed": (changed(walk(), "path", move_speed=-1.0), "path", "-1.0 smaller than min of 0.0: move_speed"),
    "huge speed": (changed(walk(), "path", move_speed=1e6), "path", "1000000.0 bigger than max of 10.0: move_speed"),
    "huge turn": (changed(walk(), "path", turn_speed=90.0), "path", "90.0 bigger than max of 45.0: turn_speed"),
    "unknown attention": (
        changed(walk(), "model", attention="fast"),
        "model",
        "There is no attention backend 'fast': choose one of auto, flash, sage, fp8.",
    ),
    "words for a number": (
        walk(chunks="many"),
        SAMPLER,
        "Failed to convert an input value to a INT value: chunks",
    ),
}
"""Prompt, the node that is to blame, and what its message says."""


@pytest.mark.parametrize("name", REJECTED)
def test_a_wrong_value_is_rejected_before_anything_runs(client: Client, name: str) -> None:
    prompt, culprit, message = REJECTED[name]
    with pytest.raises(RejectedError) as rejected:
        client.run(prompt)
    assert rejected.value.code == 400
    assert set(rejected.value.body["node_errors"]) == {culprit}
    reasons = rejected.value.reasons(culprit)
    assert all(message in reason for reason in reasons), reasons
    assert len(reasons) == 1, "the host repeats a sentence for every input the check names"


@pytest.mark.parametrize(
    ("prompt", "culprit", "value"),
    [
        (changed(walk(), "model", weight_dtype="int3"), "model", "int3"),
        (changed(walk(), "model", model_name="none.safetensors"), "model", "none.safetensors"),
        (walk(decoder="none.pth"), SAMPLER, "none.pth"),
        (changed(walk(), "first", size="100x100"), "first", "100x100"),
        (changed(walk(), "first", crop="middle"), "first", "middle"),
        (changed(walk(), "first", frame="second"), "first", "second"),
    ],
    ids=["weight_dtype", "model_name", "decoder", "size", "crop", "frame"],
)
def test_a_choice_that_is_not_offered_is_refused(client: Client, prompt: Prompt, culprit: str, value: str) -> None:
    # Old hosts do not check the choices of nodes like ours, so there the node itself refuses.
    try:
        run = client.run(prompt)
    except RejectedError as rejected:
        (reason,) = rejected.reasons(culprit)
    else:
        assert run.of_kind("execution_error")[0]["node_id"] == culprit
        reason = run.error.splitlines()[0]
        assert "InputError" in run.of_kind("execution_error")[0]["exception_type"]
    assert value in reason


def latent_of(class_type: str, **inputs: object) -> Prompt:
    """A walk whose first frame is the latent of another node."""
    return {**walk(first_frame=["latent", 0]), "latent": node(class_type, **inputs)}


def other_vae(kind: str) -> Prompt:
    return {**walk(vae=["other", 0]), "other": node("TestOtherVAE", kind=kind)}


def other_text(**inputs: int) -> Prompt:
    return {**walk(positive=["other", 0]), "other": node("TestOtherConditioning", **inputs)}


def in_ksampler() -> Prompt:
    prompt = walk()
    prompt[SAMPLER] = node(
        "KSampler",
        model=["model", 0],
        positive=["prompt", 0],
        negative=["prompt", 0],
        latent_image=["first", 0],
        seed=1,
        steps=1,
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
        denoise=1.0,
    )
    return changed(prompt, "latents", samples=[SAMPLER, 0])


def two_prompts() -> Prompt:
    both = node("ConditioningCombine", conditioning_1=["prompt", 0], conditioning_2=["prompt", 0])
    return {**walk(positive=["both", 0]), "both": both}


def out_of_memory() -> Prompt:
    full = node("TestOutOfMemory", model=["model", 0], forwards=6)
    return {**walk(model=["full", 0], seed=41), "full": full}


def odd_picture() -> Prompt:
    """A picture of 3 by 3 latents, by way of the core VAE Encode."""
    small = node("ImageScale", image=["picture", 0], upscale_method="area", width=48, height=48, crop="center")
    encoded = node("VAEEncode", pixels=["small", 0], vae=["world", 0])
    return {**walk(first_frame=["encoded", 0]), "small": small, "encoded": encoded}


FAILING: dict[str, tuple[Prompt, str, str]] = {
    "first frame of another size": (
        walk(width=96, height=64) | {SAMPLER: sampler_node(first_frame=["first", 0], width=128, height=64)},
        SAMPLER,
        "The first frame is 96x64, but 128x64 is asked for: set the size in Encode First Frame",
    ),
    "latent of an image model": (
        latent_of("EmptyLatentImage", width=96, height=64, batch_size=1),
        SAMPLER,
        "The first frame must be one latent of shape [1, 24, 1, h, w], got [1, 4, 8, 12]: connect Encode First Frame",
    ),
    "latent of another video model": (
        latent_of("EmptyHunyuanLatentVideo", width=96, height=64, length=1, batch_size=1),
        SAMPLER,
        "The first frame must be one latent of shape [1, 24, 1, h, w], got [1, 16, 1, 8, 12]",
    ),
    "latent of a whole video": (
        latent_of("EmptyHunyuanLatentVideo", width=96, height=64, length=9, batch_size=1),
        SAMPLER,
        "The first frame must be one latent of shape [1, 24, 1, h, w], got [1, 16, 3, 8, 12]",
    ),
    "odd latent": (odd_picture(), SAMPLER, "Both sides of the latents must be even, got 3x3"),
    "text of UMT5 for the tiny model": (
        other_text(width=4096),
        SAMPLER,
        "encode the prompt with the model's own text encoder (4096: UMT5-XXL",
    ),
    "text of CLIP": (other_text(width=768), SAMPLER, "The prompt embeddings must have the shape [1, tokens, 64], got"),
    "two prompts": (two_prompts(), SAMPLER, "The conditioning holds 2 prompts: the walk takes one"),
    "VAE of Wan 2.1": (
        other_vae("wan 2.1"),
        SAMPLER,
        "This is a Wan 2.1 VAE (16 channels), and the latents of this model have 24",
    ),
    "VAE for pictures": (other_vae("image"), SAMPLER, "is not a Wan VAE"),
    "no VAE": (other_vae("none"), SAMPLER, "There is no VAE: load wan2.2_vae.safetensors (for WorldPlay and TI2V-5B)"),
    "VAE of Wan 2.1 for the picture": (
        changed({**walk(), "other": node("TestOtherVAE", kind="wan 2.1")}, "first", vae=["other", 0]),
        SAMPLER,
        "The first frame must be one latent of shape [1, 24, 1, h, w], got [1, 16, 1, 8, 12]",
    ),
    "another MODEL": (
        {**walk(model=["other", 0]), "other": node("TestOtherModel")},
        SAMPLER,
        "This MODEL is a WAN21, not HY-WorldPlay: load it with the node Load HY-WorldPlay Model.",
    ),
    "our MODEL in a KSampler": (
        in_ksampler(),
        SAMPLER,
        "sample it with the HY-WorldPlay Streaming Sampler, not with",
    ),
    "actions of another length": (
        keys("W*3"),
        SAMPLER,
        "The key presses last 3 latents, but the path of 8 latents takes 7",
    ),
    "out of memory": (out_of_memory(), SAMPLER, "There is not enough GPU memory for a walk at 96x64"),
}
"""Prompt, the node that fails, and the sentence it fails with."""


@pytest.mark.parametrize("name", FAILING)
def test_what_only_shows_while_it_runs_fails_with_one_sentence(client: Client, name: str) -> None:
    prompt, culprit, message = FAILING[name]
    run = client.run(prompt)
    assert run.status == "error"
    assert run.of_kind("execution_error")[0]["node_id"] == culprit
    sentence = run.error.strip().splitlines()[0]
    assert message in sentence
    assert sentence.endswith(".")


def test_out_of_memory_says_what_to_change_and_leaves_the_server_usable(client: Client) -> None:
    before = latents(client, client.run(walk(seed=41)))
    run = client.run(out_of_memory())
    for remedy in ("smaller size", "fp8_e4m3fn", "tiny decoder"):
        assert remedy in run.error
    after = client.run(walk(seed=41, preview=True))
    assert SAMPLER not in after.cached
    assert_same(latents(client, after), before)


def test_a_camera_file_is_refused_without_a_word_of_what_it_holds(server: ComfyServer, client: Client) -> None:
    (server.input / "secret.json").write_text('{"0": "sk-verysecret"}')
    with pytest.raises(RejectedError) as error:
        client.queue(path("secret.json"))
    (reason,) = error.value.reasons("path")
    assert 'The camera file "secret.json", pose 0 must be an object with the keys "extrinsic" and "K".' in reason
    assert "sk-verysecret" not in json.dumps(error.value.body) + server.log()
    assert str(server.input) not in json.dumps(error.value.body)
