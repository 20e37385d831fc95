"""Live Walk on a real server: walked over its WebSocket, by whoever queued it and nobody else."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hyworld import World

from .client import Client, Prompt, RejectedError
from .live_walker import Walker, walker_of, websocket
from .results import text, video
from .server import ComfyServer
from .walks import FULL_DECODER, SAMPLER, changed, node, sampler_node, walk

pytestmark = pytest.mark.host

LIVE = "live"
SLOW_FORWARD = 0.15
STEPS = 4


def live(**inputs: Any) -> Prompt:
    """A Live Walk from a picture that saves its video and world; `inputs` change those of the node."""
    prompt = walk()
    for name in (SAMPLER, "path", "latents"):
        del prompt[name]
    defaults: dict[str, Any] = {
        "model": ["model", 0],
        "positive": ["prompt", 0],
        "vae": ["world", 0],
        "first_frame": ["first", 0],
        "seed": 1,
        "decoder": FULL_DECODER,
    }
    prompt[LIVE] = node("HYWorldLiveWalk", **{**defaults, **inputs})
    prompt["film"] = node("SaveVideo", video=[LIVE, 0], filename_prefix="live/film", format="auto", codec="auto")
    prompt["save"] = node("HYWorldSaveWorld", world=[LIVE, 1], filename_prefix="live/walked")
    return prompt


def again(prompt: Prompt, **sampler: Any) -> Prompt:
    """The same prompt, with a Streaming Sampler that walks the recorded path, and saves its world too."""
    return {
        **prompt,
        "again": sampler_node(first_frame=["first", 0], trajectory=[LIVE, 2], **sampler),
        "save again": node("HYWorldSaveWorld", world=["again", 3], filename_prefix="live/again"),
    }


def without_files(prompt: Prompt) -> Prompt:
    return {name: what for name, what in prompt.items() if name not in ("film", "save")}


def slow(prompt: Prompt) -> Prompt:
    """The same prompt with a pause before every forward."""
    slowed = {**prompt, "slow": node("TestSlowModel", model=["model", 0], seconds=SLOW_FORWARD)}
    return changed(slowed, LIVE, model=["slow", 0])


def newest(server: ComfyServer, name: str) -> World:
    return World.load(sorted((server.input.parent / "output" / "live").glob(f"{name}_*.world"))[-1])


def unfinished(server: ComfyServer) -> list[Path]:
    return sorted((server.input.parent / "output" / "hyworld_unfinished").glob("*"))


@pytest.fixture(autouse=True)
def _nothing_unfinished(server: ComfyServer) -> Iterator[None]:
    """Neither by other tests nor for them."""
    for file in unfinished(server):
        file.unlink()
    yield
    for file in unfinished(server):
        file.unlink()


def test_walk_turn_go_back_branch_and_walk_it_again(server: ComfyServer, client: Client) -> None:
    run = client.queue(again(live()))
    walker = walker_of(client, run, server.url)
    first = walker.until(lambda message: message["type"] == "picture")
    assert len(first["pictures"]) == 1
    assert (walker.state["role"], walker.state["chunks"], walker.state["size"]) == ("walks", 0, [64, 96])
    walked = walker.walk("w", to=2)
    walked = walker.walk("left", to=walked + 1)
    walker.say("back", chunks=1)
    walker.until(lambda message: message["type"] == "state" and message["chunks"] == 1)
    assert walker.state["furthest"] == walked
    walked = walker.walk("right", "w", to=2)
    walker.say("stop")
    assert walker.end() == ""
    client.follow(run)
    assert run.status == "success", run.error

    world = newest(server, "walked")
    assert world.chunks == walked
    labels = world.path.labels
    assert labels[1] != labels[4] == labels[5], "after going back one turned and walked"
    assert newest(server, "again") == world, "the recorded path leads elsewhere"
    film, rate = video(client, run, "film")
    assert (film.shape, rate) == ((world.video_frames, 64, 96, 3), 16)
    assert run.outputs[LIVE]["text"][0].startswith(f"World of {walked} chunks, {len(film)} frames, 96x64, seed 1")
    assert unfinished(server) == [], "a walk that ended and was saved leaves nothing"


def test_it_is_never_served_from_the_cache(server: ComfyServer, client: Client) -> None:
    for _ in range(2):
        run = client.queue(live())
        walker = walker_of(client, run, server.url)
        walker.walk("w", to=1)
        walker.say("stop")
        client.follow(run)
        assert run.status == "success", run.error
        assert {LIVE, "film", "save"}.isdisjoint(run.cached)
    json.loads(client.get(f"/history/{run.prompt_id}"), parse_constant=lambda name: pytest.fail(f"JSON has {name}"))


def test_new_words_hold_from_the_next_chunk_on(server: ComfyServer, client: Client) -> None:
    prompt = again(live(clip=["world", 1]), positive=["schedule", 0])
    prompt["rain"] = node("CLIPTextEncode", clip=["world", 1], text="it starts to rain")
    prompt["schedule"] = node("HYWorldPromptSchedule", first=["prompt", 0], second=["rain", 0], second_after=2)
    run = client.queue(prompt)
    walker = walker_of(client, run, server.url)
    walker.stands()
    assert (walker.state["can_tell"], walker.state["heeds_words"]) == (True, True)
    assert walker.state["words"] == "a quiet street"
    walker.walk("w", to=2)
    walker.say("back", chunks=2)
    walker.stands(2)
    walker.say("words", text="it starts to rain")
    walker.until(lambda message: message["type"] == "state" and message["words"] == "it starts to rain")
    walked = walker.walk("w", to=4)
    walker.say("stop")
    client.follow(run)
    assert run.status == "success", run.error
    world = newest(server, "walked")
    assert [step.words.prompt for step in world.history if step.words] == [
        *2 * ["a quiet street"],
        *(walked - 2) * ["it starts to rain"],
    ]
    assert newest(server, "again") == world
    assert run.outputs[LIVE]["text"][1:] == ["from chunk 1: a quiet street", "from chunk 3: it starts to rain"]


def test_without_a_clip_there_are_no_new_words(server: ComfyServer, client: Client) -> None:
    run = client.queue(live())
    walker = walker_of(client, run, server.url)
    walker.stands()
    assert walker.state["can_tell"] is False
    walker.say("words", text="it starts to rain")
    assert walker.until(lambda message: message["type"] == "error")["text"].endswith(".")
    walker.walk("w", to=1)
    walker.say("stop")
    client.follow(run)
    assert run.status == "success", run.error


def test_words_of_another_clip_are_refused_and_the_walk_goes_on(server: ComfyServer, client: Client) -> None:
    prompt = {**live(clip=["other", 0]), "other": node("TestOtherCLIP", width=768)}
    run = client.queue(prompt)
    walker = walker_of(client, run, server.url)
    walked = walker.walk("w", to=1)
    walker.say("words", text="it starts to rain")
    said = walker.until(lambda message: message["type"] in ("note", "error"))["text"]
    assert said.startswith("These words cannot be told: this CLIP makes 768 numbers of each token, but the model takes")
    assert walker.walk("w", to=walked + 1) > walked
    assert walker.state["words"] == "a quiet street"
    walker.say("stop")
    client.follow(run)
    assert run.status == "success", run.error


def test_the_built_in_world_heeds_no_words(server: ComfyServer, client: Client) -> None:
    prompt = changed(live(clip=["world", 1]), "model", model_name="tiny (built in, no download)")
    run = client.queue(prompt)
    walker = walker_of(client, run, server.url)
    walker.stands()
    assert (walker.state["can_tell"], walker.state["heeds_words"]) == (True, False)
    walker.say("stop")
    client.follow(run)


def test_auto_is_the_tiny_decoder_of_the_built_in_world(server: ComfyServer, client: Client) -> None:
    prompt = again(live(decoder="auto"), decoder="tiny (built-in world)")
    prompt["full"] = sampler_node(first_frame=["first", 0], trajectory=[LIVE, 2])
    for name in ("again", "full"):
        film = node("SaveVideo", video=[name, 4], filename_prefix="live/film", format="auto", codec="auto")
        prompt[f"film {name}"] = film
    run = client.queue(prompt)
    walker = walker_of(client, run, server.url)
    walker.walk("w", to=2)
    walker.say("stop")
    client.follow(run)
    assert run.status == "success", run.error
    walked, tiny, full = (video(client, run, name)[0] for name in ("film", "film again", "film full"))
    # Live videos are encoded with another preset, so the same frames come back a little different.
    off_tiny, off_full = (np.abs(walked.astype(int) - other).mean() for other in (tiny, full))
    print(f"off by {off_tiny:.2f} and {off_full:.2f} levels")
    assert off_tiny < 0.5 * off_full


def test_the_hosts_cancel_stops_within_a_step_and_keeps_the_walk(server: ComfyServer, client: Client) -> None:
    run = client.queue(slow(live()))
    walker = walker_of(client, run, server.url)
    walker.stands()
    walker.hold("w")
    walker.chunk(1)
    walker.until(lambda message: (message["type"], message.get("chunk"), message.get("step")) == ("working", 2, 1))
    began = time.monotonic()
    client.interrupt()
    said = walker.end()
    assert time.monotonic() - began < 2 * SLOW_FORWARD + 0.7, "it walked on"
    client.follow(run)
    assert run.status == "interrupted"
    files = {file.suffix: file for file in unfinished(server)}
    assert set(files) == {".mp4", ".world"}
    for file in files.values():
        assert f"output/hyworld_unfinished/{file.name}" in said
    assert World.load(files[".world"]).chunks == 2
    assert said.startswith("Cancelled. This walk is kept in ")


def test_a_walk_that_nothing_takes_is_kept(server: ComfyServer, client: Client) -> None:
    run = client.queue(without_files(live()))
    walker = walker_of(client, run, server.url)
    walked = walker.walk("w", to=1)
    walker.say("stop")
    client.follow(run)
    assert run.status == "success", run.error
    (file,) = unfinished(server)
    assert World.load(file).chunks == walked
    assert run.outputs[LIVE]["text"][-1] == f"This walk is kept in output/hyworld_unfinished/{file.name}."


def test_a_world_goes_on_and_branches_from_its_history(server: ComfyServer, client: Client) -> None:
    run = client.queue(live())
    walker = walker_of(client, run, server.url)
    walker.walk("w", to=2)
    walker.say("stop")
    client.follow(run)
    start = newest(server, "walked")
    start.save(server.input / "start.world", overwrite=True)

    prompt = live(world=["load", 0])
    prompt["load"] = node("HYWorldLoadWorld", file="start.world")
    prompt["again"] = sampler_node(world=["load", 0], trajectory=[LIVE, 2], seed=77)
    prompt["save again"] = node("HYWorldSaveWorld", world=["again", 3], filename_prefix="live/again")
    run = client.queue(prompt)
    walker = walker_of(client, run, server.url)
    walker.stands()
    assert (walker.state["chunks"], walker.state["furthest"]) == (start.chunks, start.chunks)
    walker.walk("left", to=start.chunks + 1)
    walker.say("stop")
    client.follow(run)
    assert run.status == "success", run.error
    world = newest(server, "walked")
    assert world.at_chunk(start.chunks) == start
    assert newest(server, "again") == world
    assert len(video(client, run, "film")[0]) == world.video_frames - start.video_frames

    back = {name: what for name, what in prompt.items() if "again" not in name}
    run = client.queue(back)
    walker = walker_of(client, run, server.url)
    walker.stands()
    walker.say("back", chunks=1)
    walker.stands(1)
    walked = walker.walk("right", to=2)
    walker.say("stop")
    client.follow(run)
    assert run.status == "success", run.error
    world = newest(server, "walked")
    assert (world.chunks, world.at_chunk(1)) == (walked, start.at_chunk(1))
    assert len(video(client, run, "film")[0]) == world.video_frames - world.at_chunk(1).video_frames


def test_a_schedule_of_words_is_not_followed_and_that_is_said(server: ComfyServer, client: Client) -> None:
    prompt = live(positive=["schedule", 0])
    prompt["rain"] = node("CLIPTextEncode", clip=["world", 1], text="it starts to rain")
    prompt["schedule"] = node("HYWorldPromptSchedule", first=["prompt", 0], second=["rain", 0], second_after=1)
    run = client.queue(prompt)
    walker = walker_of(client, run, server.url)
    walker.walk("w", to=2)
    walker.say("stop")
    client.follow(run)
    assert run.outputs[LIVE]["text"][-1].startswith("A Live Walk takes one prompt")
    assert {step.words.prompt for step in newest(server, "walked").history if step.words} == {"a quiet street"}


def test_nobody_else_may_join(server: ComfyServer, client: Client) -> None:
    run = client.queue(live())
    walker = walker_of(client, run, server.url)
    walker.stands()
    for code, how in {
        403: {"client_id": "somebody else"},
        404: {"prompt_id": "another"},
    }.items():
        ids = {"prompt_id": run.prompt_id, "client_id": client.id, **how}
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            Walker(server.url, ids["prompt_id"], LIVE, ids["client_id"])
        assert refused.value.status_code == code
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        Walker(server.url, run.prompt_id, LIVE, client.id, origin="http://elsewhere.example")
    assert refused.value.status_code == 403
    assert json.loads(client.get("/hyworld/live/running", client_id="somebody else")) == []
    (found,) = json.loads(client.get("/hyworld/live/running", client_id=client.id))
    assert (found["prompt_id"], found["node_id"], found["display_node_id"]) == (run.prompt_id, LIVE, LIVE)
    walker.walk("w", to=1)
    walker.say("stop")
    client.follow(run)
    assert run.status == "success", run.error
    assert json.loads(client.get("/hyworld/live/running", client_id=client.id)) == []


def test_who_comes_back_walks_on(server: ComfyServer, client: Client) -> None:
    run = client.queue(live())
    walker = walker_of(client, run, server.url)
    walked = walker.walk("w", to=1)
    walker.hold("w")  # held while the socket is lost
    walker.close()
    back = Walker(server.url, run.prompt_id, LIVE, client.id)
    back.until(lambda message: message["type"] == "picture")
    back.stands()
    assert back.state["role"] == "walks"
    walked = max(walked, back.state["chunks"])
    assert back.walk("d", to=walked + 1) > walked
    back.say("stop")
    client.follow(run)
    assert run.status == "success", run.error


def test_a_walk_that_everybody_left_stops(server: ComfyServer, client: Client) -> None:
    run = client.queue(live())
    walker = walker_of(client, run, server.url)
    walked = walker.walk("w", to=1)
    walker.close()
    began = time.monotonic()
    client.follow(run, timeout=60)
    assert run.status == "success", run.error
    assert 28 < time.monotonic() - began < 36
    assert newest(server, "walked").chunks == walked


@pytest.mark.parametrize("has_page", [True, False])
def test_nobody_there(server: ComfyServer, client: Client, has_page: bool) -> None:
    began = time.monotonic()
    if has_page:
        run = client.run(live())
        assert (run.status, time.monotonic() - began > 14) == ("error", True)
        said = run.error
    else:
        prompt_id = client.post("/prompt", {"prompt": live()})["prompt_id"]
        history: dict[str, Any] = {}
        while prompt_id not in history and time.monotonic() < began + 30:
            history = json.loads(client.get(f"/history/{prompt_id}"))
            time.sleep(0.05)
        messages = dict(history[prompt_id]["status"]["messages"])
        said = messages["execution_error"]["exception_message"]
    assert time.monotonic() - began < 25
    assert said.strip().splitlines()[0].startswith("Nobody came to walk: queue a Live Walk from ComfyUI's page")


def test_a_stop_before_the_first_chunk_is_one_sentence(server: ComfyServer, client: Client) -> None:
    run = client.queue(live())
    walker = walker_of(client, run, server.url)
    walker.stands()
    walker.say("stop")
    said = walker.end()
    client.follow(run)
    assert run.status == "error"
    assert run.error.strip().splitlines()[0] == said
    assert said.startswith("Nothing was walked, so there is no video: press Run")
    assert unfinished(server) == []


def test_an_error_is_told_to_who_came(server: ComfyServer, client: Client) -> None:
    prompt = {**live(model=["full", 0]), "full": node("TestOutOfMemory", model=["model", 0], forwards=6)}
    run = client.queue(prompt)
    walker = walker_of(client, run, server.url)
    walker.stands()
    walker.hold("w")
    said = walker.end()
    client.follow(run)
    assert run.status == "error"
    assert said.startswith("There is not enough GPU memory for a walk at 96x64")
    assert {file.suffix for file in unfinished(server)} == {".mp4", ".world"}


def test_what_cannot_be_walked_is_refused_at_once(client: Client) -> None:
    odd = changed(live(width=100), LIVE)
    del odd[LIVE]["inputs"]["first_frame"]
    with pytest.raises(RejectedError) as rejected:
        client.queue(odd)
    (reason,) = rejected.value.reasons(LIVE)
    assert "The width must be a multiple of 32 pixels, got 100: choose 96 or 128." in reason
    for wrong in (-1, 9999):
        with pytest.raises(RejectedError) as rejected:
            client.queue(changed(live(), LIVE, width=wrong))
        (reason,) = rejected.value.reasons(LIVE)
        assert f"The width must be 0 to 4096 pixels, got {wrong}." in reason


def test_a_path_reads_as_a_line(server: ComfyServer, client: Client) -> None:
    prompt = {**live(), "line": node("PreviewAny", source=[LIVE, 2])}
    run = client.queue(prompt)
    walker = walker_of(client, run, server.url)
    walker.walk("w", to=1)
    walker.say("stop")
    client.follow(run)
    assert re.search(r": (w-\d|W\*\d)", text(run, "line")), "where one let go, a latent may stand still"
