"""Worlds that go on, paths that are joined, key presses and the inspector, on a real server."""

from __future__ import annotations

import numpy as np
import pytest
import torch

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


def test_the_inspector_maps_every_chunk(client: Client) -> None:
    prompt = walk("w-12, right-7")
    prompt["all"] = node("HYWorldMemoryInspector", world=[SAMPLER, 3], chunk=-1)
    prompt["last"] = node("HYWorldMemoryInspector", world=[SAMPLER, 3], chunk=4)
    prompt["listing"] = node("PreviewAny", source=["all", 1])
    run = client.run(prompt)
    maps = frames(client, run, "all")
    assert len(maps) == 5
    assert len({picture.tobytes() for picture in maps}) == 5, "two chunks have the same map"
    np.testing.assert_array_equal(frames(client, run, "last"), maps[4:])
    lines = text(run, "listing").splitlines()
    assert lines[0] == "chunk 0: nothing"
    assert lines[4] == "chunk 4: " + ", ".join(map(str, range(16)))
