"""Worlds that last: saved, loaded in another server, rewound, told new words; videos that need no frames in memory."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from hyworld import World

from .client import Client, Prompt, RejectedError
from .installation import Installation
from .results import assert_same, frames, latents, text, video
from .server import ComfyServer
from .walks import SAMPLER, changed, node, sampler_node, slowed, walk, with_frames

pytestmark = pytest.mark.host


def saving(path: str, **sampler: object) -> Prompt:
    return {
        **walk(path, **sampler),
        "save": node("HYWorldSaveWorld", world=[SAMPLER, 3], filename_prefix="test/street"),
    }


def on_from(file: str, path: str, **load: object) -> Prompt:
    """A walk that goes on in a world from a file, and saves its latents and frames."""
    prompt = walk(path)
    prompt["load"] = node("HYWorldLoadWorld", file=file, **load)
    prompt[SAMPLER] = sampler_node(world=["load", 0])
    return with_frames(prompt)


def saved(server: ComfyServer) -> list[Path]:
    return sorted((server.input.parent / "output" / "test").glob("street_*_.world"))


def test_a_world_goes_on_in_another_server_as_if_never_stopped(
    server: ComfyServer, client: Client, comfyui: Installation, tmp_path: Path
) -> None:
    whole = client.run(with_frames(walk("w-7, right-8")))
    run = client.run(saving("w-7"))
    file = saved(server)[-1]
    assert run.outputs["save"]["text"][0].startswith(f"test/{file.name}, ")
    assert run.outputs["save"]["images"], "no picture of the world is shown"

    with ComfyServer(comfyui, tmp_path / "other") as other:
        shutil.copy(file, other.input / "street.world")
        shutil.copy(server.input / "street.png", other.input)
        again = Client(other.url)
        on = again.run(on_from("street.world", "right-8"))
        assert on.status == "success", on.error
        assert on.outputs["load"]["text"][0].startswith("World of 2 chunks, 29 frames, 96x64, seed 1, w-7")
        assert_same(latents(again, on), latents(client, whole)[:, :, 8:])
        np.testing.assert_array_equal(frames(again, on), frames(client, whole)[29:])
        again.close()


def test_a_saved_world_is_listed_and_numbered(server: ComfyServer, client: Client) -> None:
    before = len(saved(server))
    client.run(saving("w-3", seed=3))
    client.run(changed(saving("w-3", seed=4), "save", filename_prefix="test/street"))
    assert len(saved(server)) == before + 2
    options = client.object_info()["HYWorldLoadWorld"]["input"]["required"]["file"]
    names = options[1].get("options") or options[0]
    assert f"test/{saved(server)[-1].name} [output]" in names
    assert World.load(saved(server)[-1]).seed == 4


@pytest.mark.parametrize(
    "name", ["../secret.world", "/etc/passwd", "absent.world", "street.png", "a\x00.world [output]"]
)
def test_no_other_file_is_read(client: Client, name: str) -> None:
    with pytest.raises(RejectedError) as refusal:
        client.queue(on_from(name, "w-4"))
    (reason,) = refusal.value.reasons("load")
    assert "There is no world" in reason or "not in" in reason


def test_a_damaged_file_fails_with_a_sentence(server: ComfyServer, client: Client) -> None:
    client.run(saving("w-3", seed=5))
    (server.input / "cut.world").write_bytes(saved(server)[-1].read_bytes()[:-100])
    run = client.run(on_from("cut.world", "w-4"))
    assert run.status == "error"
    assert run.error.startswith("cut.world is damaged or no world")


def test_rewound_worlds_have_the_same_future_and_others(client: Client) -> None:
    whole = client.run(walk("w-7, right-8"))
    prompt = walk("w-7, left-8")
    prompt["back"] = node("HYWorldRewindWorld", world=[SAMPLER, 3], chunks=-2)
    prompt["path on"] = node("HYWorldCameraTrajectory", path="right-8")
    prompt["on"] = sampler_node(world=["back", 0], trajectory=["path on", 0])
    prompt["on latents"] = node("SaveLatent", samples=["on", 1], filename_prefix="walk")
    same = client.run(prompt)
    assert_same(latents(client, same, "on latents"), latents(client, whole)[:, :, 8:])
    assert same.outputs["back"]["text"][0].startswith("World of 2 chunks")
    other = client.run(changed(prompt, "back", chunks=2, new_seed=9))
    assert not torch.equal(latents(client, other, "on latents"), latents(client, same, "on latents"))
    beyond = client.run(changed(prompt, "back", chunks=-4))
    assert "keep 1 to 4" in beyond.error


def test_new_words_hold_from_their_chunk_on(client: Client) -> None:
    plain = client.run(walk("w-15", seed=6))
    prompt = walk("w-15", seed=6, positive=["schedule", 0])
    prompt["rain"] = node("CLIPTextEncode", clip=["world", 1], text="it starts to rain")
    prompt["schedule"] = node("HYWorldPromptSchedule", first=["prompt", 0], second=["rain", 0], second_after=2)
    prompt["save"] = node("HYWorldSaveWorld", world=[SAMPLER, 3], filename_prefix="test/rain")
    told = client.run(prompt)
    before, after = latents(client, plain), latents(client, told)
    assert_same(after[:, :, :8], before[:, :, :8])
    assert not torch.equal(after[:, :, 8:12], before[:, :, 8:12])
    assert told.outputs["save"]["text"][2:] == ["a quiet street", "it starts to rain"]
    twice = client.run(changed(prompt, "schedule", third=["prompt", 0], third_after=2))
    assert "Two prompts of the schedule hold after 2 chunks" in twice.error


def unfinished(server: ComfyServer) -> set[str]:
    """What walks left that ended with an error."""
    return {file.name for file in (server.input.parent / "output" / "hyworld_unfinished").glob("*")}


def test_the_video_is_that_of_the_frames_and_copied_as_it_is(server: ComfyServer, client: Client) -> None:
    others = unfinished(server)
    prompt = with_frames(walk("w-7", seed=7))
    prompt["film"] = node("SaveVideo", video=[SAMPLER, 4], filename_prefix="test/film", format="auto", codec="auto")
    run = client.run(prompt)
    assert run.status == "success", run.error
    film, rate = video(client, run, "film")
    whole = frames(client, run)
    assert (film.shape, rate) == (whole.shape, 16)
    assert np.abs(film.astype(int) - whole).mean() < 12
    assert unfinished(server) == others, "a walk that ended leaves nothing there"


def test_frames_are_made_only_if_they_are_wired(client: Client) -> None:
    prompt = walk("w-3", seed=8)
    del prompt["latents"]
    prompt["film"] = node("SaveVideo", video=[SAMPLER, 4], filename_prefix="test/film", format="auto", codec="auto")
    without = client.run(prompt)
    assert without.status == "success", without.error
    wired = client.run(with_frames(prompt))
    assert SAMPLER not in wired.cached, "the frames were not there"
    assert len(frames(client, wired)) == 13
    assert SAMPLER in client.run(with_frames(prompt)).cached


def test_a_world_reads_as_a_line(client: Client) -> None:
    prompt = walk("w-3, right-4", seed=9)
    prompt["world line"] = node("PreviewAny", source=[SAMPLER, 3])
    prompt["path line"] = node("PreviewAny", source=["path", 0])
    run = client.run(prompt)
    assert text(run, "world line") == "World of 2 chunks, 29 frames, 96x64, seed 9, w-3, right-4"
    assert text(run, "path line") == "Path of 8 latents, 2 chunks: w-3, right-4"


def test_a_cancelled_walk_leaves_nothing_unfinished(server: ComfyServer, client: Client) -> None:
    others = unfinished(server)
    prompt = slowed(walk("w-31", seed=12), 0.1)
    prompt["film"] = node("SaveVideo", video=[SAMPLER, 4], filename_prefix="film", format="auto", codec="auto")
    run = client.queue(prompt)
    client.follow(run, until=lambda event: event.kind == "progress" and event.data["value"] >= 5 * 4 + 1)
    client.interrupt()
    client.follow(run)
    assert run.status == "interrupted"
    assert unfinished(server) == others


def test_actions_read_as_a_line(client: Client) -> None:
    prompt = walk("w-7", actions=["keys", 1])
    prompt["keys"] = node("HYWorldActionSequence", keys="W*3, W+→*4")
    prompt["line"] = node("PreviewAny", source=["keys", 1])
    assert text(client.run(prompt), "line") == "W*3, W+RIGHT*4"
