"""What a prompt that cannot be walked is refused for before it runs, and what is left to the nodes."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, copy_context
from pathlib import Path
from typing import Any

import pytest

LINK = ["elsewhere", 0]
Prompt = dict[str, dict[str, Any]]
Check = Callable[[Prompt, int], Any]


@pytest.fixture
def receive(pack: Callable[[str], Any], server: list[Callable[[dict], dict]]) -> Callable[[Prompt], Context]:
    """`receive(prompt)`: have the server receive a prompt; returns the context in which it then checks the nodes."""
    pack("nodes.host.prompt").watch_prompts(lambda node, wired: None)
    (handler,) = server

    def received(prompt: Prompt) -> Context:
        context, data = copy_context(), {"prompt": prompt}
        assert context.run(handler, data) is data, "the server goes on with what its handlers return"
        return context

    return received


@pytest.fixture
def check(pack: Callable[[str], Any], input_folder: Path, receive: Callable[[Prompt], Context]) -> Check:
    """`check(prompt, chunks)`: what `check_walk` says about the sampler, node 1 of the prompt."""
    return lambda prompt, chunks=0: receive(prompt).run(pack("nodes.literals").check_walk, "1", chunks)


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def walk(source: dict[str, Any], **sampler: Any) -> Prompt:
    """A sampler whose trajectory is `source`."""
    return {"1": node("HYWorldStreamingSampler", trajectory=["2", 0], **sampler), "2": source}


def tokens(path: Any) -> dict[str, Any]:
    return node("HYWorldCameraTrajectory", path=path)


def keys(pressed: Any, **inputs: Any) -> dict[str, Any]:
    return node("HYWorldActionSequence", keys=pressed, **inputs)


EIGHT = "The path has 8 latents, enough for 2 chunks of 4, but 3 chunks were asked for"


@pytest.mark.parametrize("source", [tokens("w-7"), keys("W*7")], ids=["tokens", "keys"])
def test_more_chunks_than_the_path_has(check: Check, source: dict[str, Any]) -> None:
    assert check(walk(source), 3).startswith(EIGHT)
    assert check(walk(source), 2) is True
    assert check(walk(source), 0) is True


def test_keys_too_few_for_a_chunk(check: Check) -> None:
    assert check(walk(keys("W*2"))).startswith("The path has 3 latents, but one chunk takes 4")


def test_a_camera_file_is_read(check: Check, input_folder: Path) -> None:
    (input_folder / "walk.json").write_text("no JSON", encoding="utf-8")
    assert check(walk(tokens("walk.json")), 2) is True, "Camera Trajectory says what is wrong with it"
    pose = '{"extrinsic": [[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]], "K": [[9,0,9],[0,9,5],[0,0,1]]}'
    poses = ",".join(f'"{i}": {pose}' for i in range(8))
    (input_folder / "walk.json").write_text(f"{{{poses}}}", encoding="utf-8")
    assert check(walk(tokens("walk.json")), 3).startswith(EIGHT)


@pytest.mark.parametrize(
    "source",
    [
        tokens("w-2"),
        tokens("jump-7"),
        tokens(LINK),
        keys("jump*7"),
        keys(LINK),
        keys("W*2", trajectory=LINK),
        node("HYWorldJoinTrajectories", first=LINK, then=LINK),
        node("AnotherPackWithAPath", path="w-7", keys="W*7"),
    ],
    ids=["short", "wrong token", "linked path", "wrong key", "linked keys", "labels", "joined", "unknown"],
)
def test_a_path_that_its_own_node_judges_or_that_is_not_known_yet(check: Check, source: dict[str, Any]) -> None:
    assert check(walk(source), 9) is True


@pytest.mark.parametrize("side", ["width", "height"])
def test_a_size_without_first_frame(check: Check, side: str) -> None:
    fits = tokens("w-7")
    said = f"The {side} must be a multiple of 32 pixels, got 100: choose 96 or 128."
    assert check(walk(fits, **{side: 100})) == said
    assert check(walk(fits, **{side: 96})) is True
    assert check(walk(fits, **{side: 0})) is True, "0 is the model's own size"
    assert check(walk(fits, **{side: LINK})) is True
    assert check(walk(fits, first_frame=LINK, **{side: 100})) is True, "the first frame has the size"


@pytest.mark.parametrize(
    ("vae", "multiple"),
    [
        (node("VAELoader", vae_name="wan2.2_vae.safetensors"), 32),
        (node("VAELoader", vae_name="wan_2.1_vae.safetensors"), 16),
        (node("VAELoader", vae_name="my_vae.safetensors"), 16),
        (node("HYWorldTinyWorld"), 32),
    ],
    ids=["2.2", "2.1", "unknown", "tiny"],
)
def test_a_size_by_the_vae(check: Check, vae: dict[str, Any], multiple: int) -> None:
    prompt = {**walk(tokens("w-7"), vae=["3", 0], width=1280, height=720), "3": vae}
    said = "The height must be a multiple of 32 pixels, got 720: choose 704 or 736."
    assert check(prompt) == (True if multiple == 16 else said)
    prompt["1"]["inputs"]["height"] = 100
    named = 16 if vae["inputs"].get("vae_name", "").startswith("wan_2.1") else 32
    assert check(prompt).startswith(f"The height must be a multiple of {named} pixels, got 100")


def test_neither_a_path_nor_a_number_of_chunks(check: Check) -> None:
    alone = {"1": node("HYWorldStreamingSampler")}
    assert check(alone, 0).startswith("It is not said how far to go: wire a path")
    assert check(alone, 3) is True, "a model without a camera needs no path"
    assert check(alone, None) is True, "Live Walk, or chunks from a link"


def test_a_path_beside_a_first_frame(check: Check) -> None:
    assert check(walk(tokens("w-7"), first_frame=LINK), 3).startswith(EIGHT)


def test_a_world_gives_the_size(check: Check) -> None:
    assert check(walk(tokens("w-8"), world=LINK, width=100), 2) is True


@pytest.mark.parametrize("source", [tokens("w-7"), keys("W*7")], ids=["tokens", "keys"])
def test_in_a_wired_world_the_first_pose_makes_no_latent(check: Check, source: dict[str, Any]) -> None:
    said = check(walk(source, world=LINK), 2)
    assert said.startswith("Without its first pose, which falls on the world's last latent, the path has 7 latents, ")
    assert "enough for 1 chunk of 4, but 2 chunks were asked for" in said
    assert check(walk(source, world=LINK), 1) is True
    assert check(walk(source, world=LINK), 0) is True


def test_a_path_too_short_to_walk_on(check: Check) -> None:
    said = check(walk(tokens("left-3"), world=LINK))
    assert said.endswith("the path has 3 latents, but one chunk takes 4: lengthen the path by 1 latent or more.")
    assert check(walk(tokens("left-3"))) is True
    assert check(walk(tokens("left-4"), world=LINK)) is True


def test_paths_that_are_joined_or_relabelled_are_counted(check: Check) -> None:
    joined = walk(node("HYWorldJoinTrajectories", first=["3", 0], then=["4", 0]))
    joined |= {"3": tokens("w-3"), "4": keys("A*4", trajectory=["5", 0]), "5": tokens("left-4")}
    assert check(joined, 3).startswith(EIGHT)
    assert check(joined, 2) is True
    joined["4"] = tokens(LINK)
    assert check(joined, 3) is True, "the length of a linked path is not known"


def test_chunks_wired_from_the_path_are_those_of_a_new_walk(check: Check) -> None:
    wired = {"chunks": ["2", 1]}
    assert check(walk(tokens("w-7"), **wired), None) is True
    assert "2 chunks were asked for" in check(walk(tokens("w-7"), world=LINK, **wired), None)
    assert check(walk(tokens("w-8"), world=LINK, **wired), None) is True
    assert check(walk(tokens("w-7"), world=LINK, chunks=["unknown", 1]), None) is True


def test_no_trajectory_at_all(check: Check) -> None:
    assert check({"1": node("HYWorldStreamingSampler", width=64)}, 3) is True


def test_prompts_that_are_checked_at_the_same_time_do_not_mix(
    pack: Callable[[str], Any], input_folder: Path, receive: Callable[[Prompt], Context]
) -> None:
    check_walk = pack("nodes.literals").check_walk
    short, long = receive(walk(tokens("w-7"))), receive(walk(tokens("w-11")))
    assert short.run(check_walk, "1", 3).startswith(EIGHT)
    assert long.run(check_walk, "1", 3) is True


def test_a_node_that_is_not_in_the_prompt(check: Check) -> None:
    assert check({"9": node("HYWorldStreamingSampler", width=100)}, 3) is True


def test_nothing_is_known_without_a_server(pack: Callable[[str], Any], input_folder: Path) -> None:
    prompt = pack("nodes.host.prompt")
    prompt.watch_prompts(lambda node, wired: None)
    assert prompt.inputs_of("1") == {"class_type": None}
    assert pack("nodes.literals").check_walk("1", 3) is True
