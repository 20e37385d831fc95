"""Worlds that go on, paths that are joined, key presses and the inspector, on a real server."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from .client import Client, Prompt
from .results import assert_same, frames, latents, text
from .walks import SAMPLER, node, sampler_node, walk, with_frames

pytestmark = pytest.mark.host


def saved(prompt: Prompt, sampler: str) -> Prompt:
    """The same prompt, with another sampler's frames and latents saved too."""
    return {
        **prompt,
        f"{sampler} frames": node("SaveImage", images=[sampler, 0], filename_prefix="walk"),
        f"{sampler} latents": node("SaveLatent", samples=[sampler, 1], filename_prefix="walk"),
    }


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("w-7", "right-8"),
        # Long enough for the memory to choose an older place, with poses that no float holds exactly.
        ("w-8, w+right-7, up+d-4", "left-10, w+down-6"),
    ],
)
def test_a_world_goes_on_as_one_longer_walk_would(client: Client, first: str, then: str) -> None:
    whole = client.run(with_frames(walk(f"{first}, {then}")))
    parts = with_frames(walk(first))
    parts["path on"] = node("HYWorldCameraTrajectory", path=then)
    parts["on"] = sampler_node(world=[SAMPLER, 3], trajectory=["path on", 0], seed=99)
    run = client.run(saved(parts, "on"))

    assert_same(torch.cat((latents(client, run), latents(client, run, "on latents")), dim=2), latents(client, whole))
    np.testing.assert_array_equal(
        np.concatenate((frames(client, run), frames(client, run, "on frames"))), frames(client, whole)
    )


def test_a_world_branches(client: Client) -> None:
    prompt = walk("w-7")
    for name, path in (("left", "left-4"), ("right", "right-4"), ("left again", "left-4")):
        prompt[f"{name} path"] = node("HYWorldCameraTrajectory", path=path)
        # Another number of chunks, which is what the path gives anyway, keeps the cache from answering.
        chunks = int(name == "left again")
        prompt[name] = sampler_node(world=[SAMPLER, 3], trajectory=[f"{name} path", 0], chunks=chunks)
        prompt = saved(prompt, name)
    run = client.run(prompt)
    left, right, again = (latents(client, run, f"{name} latents") for name in ("left", "right", "left again"))
    assert_same(left, again)
    assert not torch.equal(left, right)


def test_joined_paths_walk_as_one(client: Client) -> None:
    joined = walk("w-7", trajectory=["joined", 0])
    joined["then"] = node("HYWorldCameraTrajectory", path="right-8")
    joined["joined"] = node("HYWorldJoinTrajectories", first=["path", 0], then=["then", 0])
    joined["chunks"] = node("PreviewAny", source=["joined", 1])
    run = client.run(joined)
    assert text(run, "chunks") == "4"
    assert frames(client, run, "joined").shape[0] == 1, "the map is not shown"
    assert_same(latents(client, run), latents(client, client.run(walk("w-7, right-8"))))


def test_keys_walk_the_path_of_the_tokens(client: Client) -> None:
    prompt = walk("w-3", trajectory=["keys", 0])
    prompt["keys"] = node("HYWorldActionSequence", keys="W*3, W+→*4")
    prompt["summary"] = node("PreviewAny", source=["keys", 2])
    run = client.run(prompt)
    assert "8 latents: 2 chunks, 29 frames" in text(run, "summary")
    assert_same(latents(client, run), latents(client, client.run(walk("w-3, w+right-4"))))


def test_actions_replace_what_the_network_is_told(client: Client) -> None:
    told = walk("w-7", actions=["keys", 1])
    told["keys"] = node("HYWorldActionSequence", keys="idle*3, A*4")
    relabelled = walk("w-7", trajectory=["keys", 0])
    relabelled["keys"] = node("HYWorldActionSequence", keys="idle*3, A*4", trajectory=["path", 0])
    by_input, by_path, plain = (latents(client, client.run(prompt)) for prompt in (told, relabelled, walk("w-7")))
    assert_same(by_input, by_path)
    assert not torch.equal(by_input, plain)


def inspected(chunk: int) -> Prompt:
    """A walk of 5 chunks and what the inspector makes of it."""
    prompt = walk("w-12, right-7")
    prompt["inspector"] = node("HYWorldMemoryInspector", world=[SAMPLER, 3], chunk=chunk)
    prompt["maps"] = node("PreviewImage", images=["inspector", 0])
    prompt["listing"] = node("PreviewAny", source=["inspector", 1])
    return prompt


@pytest.mark.parametrize("chunk", [-1, 0])
def test_the_inspector_maps_every_chunk(client: Client, chunk: int) -> None:
    run = client.run(inspected(chunk))
    maps = frames(client, run, "maps")
    assert maps.shape == (5, 640, 640, 3)
    assert len({picture.tobytes() for picture in maps}) == 5, "two chunks have the same map"
    assert text(run, "listing").splitlines() == [
        "chunk 1 (latents 1-4) remembered nothing",
        "chunk 2 (latents 5-8) remembered 1-4",
        "chunk 3 (latents 9-12) remembered 1-8",
        "chunk 4 (latents 13-16) remembered 1-12",
        "chunk 5 (latents 17-20) remembered 1-16",
    ]
    # The node itself shows them one after the other: five at once could not be read.
    (shown,) = run.outputs["inspector"]["images"]
    assert run.outputs["inspector"]["animated"] == [True]
    with Image.open(io.BytesIO(client.view(shown))) as moving:
        assert (moving.n_frames, moving.size) == (5, (640, 640))


def test_the_inspector_shows_one_chunk(client: Client) -> None:
    everything = frames(client, client.run(inspected(0)), "maps")
    run = client.run(inspected(4))
    np.testing.assert_array_equal(frames(client, run, "maps"), everything[3:4])
    np.testing.assert_array_equal(frames(client, run, "inspector"), everything[3:4])


def test_the_inspector_draws_small_pictures_of_what_was_remembered(client: Client) -> None:
    (shown,) = frames(client, client.run(inspected(5)), "inspector")
    # The map alone has 206 such colours, blends of its few; pictures of noise have many more.
    assert len({tuple(colour) for colour in (shown // 16).reshape(-1, 3).tolist()}) > 400


def test_a_chunk_that_is_not_there_is_named(client: Client) -> None:
    run = client.run(inspected(99))
    assert run.status == "error"
    assert run.error.strip() == "There is no chunk 99: this world has 5; choose 1 to 5, or 0 for all."
