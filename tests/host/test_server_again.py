"""What a sampler does when a prompt is queued again with little changed: nothing, or only what is new."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from .client import Client, Prompt, RejectedError, Run
from .results import assert_same, frames, latents
from .server import ComfyServer
from .walks import SAMPLER, changed, node, sampler_node, slowed, walk, with_frames

pytestmark = pytest.mark.host


def notes(run: Run, sampler: str = SAMPLER) -> list[str]:
    """What the sampler's node shows of its last run."""
    return run.outputs[sampler]["text"]


def known(run: Run, sampler: str = SAMPLER) -> str:
    """What it said about chunks of the run before; "" if nothing."""
    return next((note for note in notes(run, sampler) if "known from the last run" in note), "")


def steps_within_chunks(run: Run) -> set[int]:
    """Denoising steps that the sampler told of, but those that end a chunk, which decoding alone tells of too."""
    return {data["value"] for data in run.of_kind("progress") if data["node"] == SAMPLER and data["value"] % 4}


def again(path: str, **sampler: object) -> Prompt:
    return with_frames(walk(path, seed=41, reuse=True, **sampler))


def on_from(first: str, then: str, **sampler: object) -> Prompt:
    """Two samplers, the second of which goes on in the world of the first."""
    prompt = walk(first)
    prompt["path on"] = node("HYWorldCameraTrajectory", path=then)
    prompt["on"] = sampler_node(world=[SAMPLER, 3], trajectory=["path on", 0], **sampler)
    prompt["on latents"] = node("SaveLatent", samples=["on", 1], filename_prefix="walk")
    return prompt


def test_a_path_that_grew_walks_only_what_is_new(client: Client) -> None:
    client.run(again("w-7, right-4"))
    longer = client.run(again("w-7, right-8, w-5"))
    assert known(longer) == "Chunks 1 to 3 are known from the last run and only decoded again (reuse)."
    assert min(steps_within_chunks(longer), default=99) > 3 * 4
    scratch = client.run(with_frames(walk("w-7, right-8, w-5", seed=41)))
    assert_same(latents(client, longer), latents(client, scratch))
    np.testing.assert_array_equal(frames(client, longer), frames(client, scratch))
    turned = client.run(again("w-7, left-8"))
    assert known(turned).startswith("Chunks 1 to 2 are")
    assert_same(latents(client, turned), latents(client, client.run(walk("w-7, left-8", seed=41))))


def test_a_walk_that_was_cancelled_goes_on(client: Client) -> None:
    prompt = changed(slowed(again("w-15"), 0.3), SAMPLER, seed=42)
    run = client.queue(prompt)
    client.follow(run, until=lambda event: event.kind == "progress" and event.data["value"] >= 10)
    client.interrupt()
    client.follow(run)
    assert run.status == "interrupted"
    rest = client.run(prompt)
    assert known(rest).startswith("Chunks 1 to 2 are")
    assert_same(latents(client, rest), latents(client, client.run(walk("w-15", seed=42))))


@pytest.mark.parametrize("change", [{"seed": 43}, {"reuse": False}, {"positive": ["other", 0]}])
def test_another_walk_starts_afresh(client: Client, change: dict) -> None:
    client.run(again("w-7"))
    prompt = {**again("w-11"), "other": node("CLIPTextEncode", clip=["world", 1], text="rain")}
    run = client.run(changed(prompt, SAMPLER, **change))
    assert known(run) == ""


def test_another_number_of_chunks_decodes_only(client: Client) -> None:
    whole = client.run(again("w-7, left-4"))
    fewer = client.run(again("w-7, left-4", chunks=2))
    assert known(fewer).startswith("Chunks 1 to 2 are")
    assert steps_within_chunks(fewer) == set()
    np.testing.assert_array_equal(frames(client, fewer), frames(client, whole)[:29])


def test_a_continued_walk_that_grew_too(client: Client) -> None:
    client.run(on_from("w-7", "left-4", reuse=True))
    grown = client.run(on_from("w-7", "left-8", reuse=True))
    assert known(grown, "on").startswith("Chunk 3 is known from the last run")
    whole = latents(client, client.run(walk("w-7, left-8")))
    assert_same(latents(client, grown, "on latents"), whole[:, :, 8:])


def test_inputs_that_change_nothing_run_nothing(client: Client) -> None:
    prompt = on_from("w-7", "right-4", seed=1)
    client.run(prompt)
    for change in ({"seed": 2}, {"preview": True}, {"seed": 3, "preview": False, "width": 64}):
        assert {SAMPLER, "on"} <= client.run(changed(prompt, "on", **change)).cached
    shown = walk("w-3", seed=44)
    client.run(shown)
    assert SAMPLER in client.run(changed(shown, SAMPLER, preview=True)).cached


def test_a_walk_on_that_is_too_short_is_refused_before_the_first_walk(client: Client) -> None:
    for path, chunks, said in (("left-3", 0, "has 3 latents, but one chunk takes 4"), ("w-7", 2, "enough for 1 chunk")):
        with pytest.raises(RejectedError) as refusal:
            client.run(on_from("w-7", path, chunks=chunks))
        (reason,) = refusal.value.reasons("on")
        assert said in reason


def test_latents_that_are_left_out_are_said_in_the_node(client: Client) -> None:
    run = client.run(on_from("w-7", "w-7", seed=2, kv_memory="fast"))
    (note,) = notes(run, "on")
    assert "the first 4 (1 chunk of 4) are used and the last 3 left out" in note


def test_text_goes_to_the_client_that_queued_alone(server: ComfyServer, client: Client) -> None:
    stranger = Client(server.url)
    run = client.run(walk("w-3", seed=45))
    assert any(name == SAMPLER and text.startswith("Chunk 1 of 1") for name, text in run.texts)
    assert not stranger.hears("text", 1)
    stranger.close()


@pytest.mark.parametrize("path", ["w-3", "w-7"])
def test_the_preview_ends_on_the_last_frame_after_the_node(client: Client, path: str) -> None:
    run = client.run(changed(with_frames(walk(path, seed=46)), SAMPLER, preview=True))
    before = len(run.previews)
    pictures = [preview.picture for preview in run.previews] + client.previews(run, seconds=1.5)
    assert len(pictures) > before, "the queue waited for the preview"
    whole = frames(client, run).astype(int)
    last = np.asarray(Image.open(io.BytesIO(pictures[-1])).resize((96, 64))).astype(int)
    distances = [np.abs(last - frame).mean() for frame in whole]
    assert int(np.argmin(distances)) == len(whole) - 1
    # of the last chunk, every frame is played
    assert len(set(pictures[-13:])) == 13


@pytest.mark.parametrize("speed", [float("nan"), float("inf")])
def test_a_speed_that_is_no_number_is_refused(client: Client, speed: float) -> None:
    prompt = walk()
    prompt["path"]["inputs"]["move_speed"] = speed
    with pytest.raises(RejectedError) as refusal:
        client.queue(prompt)
    json.dumps(refusal.value.body, allow_nan=False)
    (reason,) = refusal.value.reasons("path")
    assert "move_speed" in reason
    assert "not a finite number" in reason
