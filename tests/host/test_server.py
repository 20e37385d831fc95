"""The pack on a real server, through HTTP and websocket only: nodes, examples, previews, interrupt, cache."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hyworld.camera import Trajectory
from hyworld.config import CHUNK_LATENTS, VAE_TEMPORAL_STRIDE, frames_in

from .client import Client, Event, Prompt, Run
from .conftest import street_picture
from .results import assert_same, frames, latents, text, video
from .server import PACK_NAME, REPOSITORY, ComfyServer
from .walks import SAMPLER, TRAINED_MODEL, changed, node, slowed, walk, with_frames

pytestmark = pytest.mark.host

BY_HAND = "live_walk"
"""Needs somebody at the keys: test_server_live.py."""
EXAMPLES = sorted(e for e in (REPOSITORY / "example_workflows" / "api").glob("*.json") if e.stem != BY_HAND)
SAVING = REPOSITORY / "example_workflows" / "api" / "walk_and_save.json"
"""Leaves the world that the example which loads one goes on in."""


def prompt_of(example: Path) -> Prompt:
    prompt: Prompt = json.loads(example.read_text())
    return prompt


def needs_no_download(prompt: Prompt) -> bool:
    names = [inputs["model_name"] for inputs in inputs_of(prompt, "HYWorldLoadModel")]
    return bool(names) and set(names) == {TRAINED_MODEL}


def inputs_of(prompt: Prompt, class_type: str) -> list[dict]:
    return [entry["inputs"] for entry in prompt.values() if entry["class_type"] == class_type]


def declared_nodes() -> dict[str, str]:
    """Ids and display names of all nodes, as the sources state them."""
    pattern = re.compile(r'node_id="(\w+)",\s+display_name="([^"]+)"')
    sources = (path.read_text() for path in (REPOSITORY / "nodes").glob("*.py"))
    return {name: title for source in sources for name, title in pattern.findall(source)}


def sampling_seconds(run: Run) -> float:
    """How long the sampler ran."""
    executing = [event for event in run.events if event.kind == "executing"]
    began = next(i for i, event in enumerate(executing) if event.data["node"] == SAMPLER)
    return executing[began + 1].seconds - executing[began].seconds


def shown_within_a_chunk(run: Run) -> int:
    """Previews that came while the sampler was somewhere between the first and the last step of a chunk."""
    progress = [(event.seconds, event.data["value"]) for event in run.events if event.kind == "progress"]
    steps = [max(value for seconds, value in progress if seconds <= shown.seconds) for shown in run.previews]
    return sum(step % 4 != 0 for step in steps)


def steps_done(at_least: int) -> Callable[[Event], bool]:
    """Whether an event says that the sampler has done so many denoising steps."""

    def reached(event: Event) -> bool:
        return event.kind == "progress" and event.data["node"] == SAMPLER and event.data["value"] >= at_least

    return reached


def test_the_pack_is_loaded_once_and_without_complaint(server: ComfyServer) -> None:
    loaded = [line for line in server.log().splitlines() if " seconds" in line and PACK_NAME in line]
    assert len(loaded) == 1, loaded
    assert "FAILED" not in loaded[0]


def test_every_node_is_listed_with_a_tooltip_for_each_input_and_output(client: Client) -> None:
    declared = declared_nodes()
    assert len(declared) >= 8
    listed = {name: info for name, info in client.object_info().items() if info["python_module"].endswith(PACK_NAME)}
    assert {name: info["display_name"] for name, info in listed.items()} == declared
    for name, info in listed.items():
        assert info["category"] == "HY-WorldPlay", name
        assert info["description"].strip(), name
        for kind in ("required", "optional"):
            for label, (_, options) in info["input"].get(kind, {}).items():
                assert options["tooltip"].strip(), f"{name}.{label}"
        assert len(info["output_tooltips"]) == len(info["output"]) == len(info["output_name"])
        assert all(tip and tip.strip() for tip in info["output_tooltips"]), name


def test_there_is_a_quick_start_without_downloads() -> None:
    quick_start = REPOSITORY / "example_workflows" / "api" / "quick_start.json"
    assert needs_no_download(prompt_of(quick_start))


@pytest.mark.parametrize("example", [e for e in EXAMPLES if needs_no_download(prompt_of(e))], ids=lambda e: e.stem)
def test_examples_without_downloads_make_a_playable_video(example: Path, server: ComfyServer, client: Client) -> None:
    prompt = prompt_of(example)
    for picture in inputs_of(prompt, "LoadImage"):
        street_picture().save(server.input / picture["image"])
    (sampler,) = inputs_of(prompt, "HYWorldStreamingSampler")
    path = Trajectory.from_tokens(prompt[sampler["trajectory"][0]]["inputs"]["path"])
    goes_on = bool(inputs_of(prompt, "HYWorldLoadWorld"))
    begins = prompt_of(SAVING) if goes_on else prompt
    (size,) = inputs_of(begins, "HYWorldEncodeFirstFrame")
    if goes_on:
        assert client.run(begins, timeout=120).status == "success"
        chunks = (len(path) - 1) // CHUNK_LATENTS  # its first pose is that of the world's last latent
        length = chunks * CHUNK_LATENTS * VAE_TEMPORAL_STRIDE
    else:
        length = frames_in((sampler["chunks"] or path.chunks) * CHUNK_LATENTS)
    (saves,) = [name for name, entry in prompt.items() if entry["class_type"] == "SaveVideo"]

    run = client.run(prompt, timeout=120)

    assert run.status == "success", run.error
    film, rate = video(client, run, saves)
    assert film.shape == (length, size["height"], size["width"], 3)
    assert rate == 16
    assert np.abs(np.diff(film.astype(float), axis=0)).mean(axis=(1, 2, 3)).min() > 0, "the picture stands still"


def test_frames_latents_and_frame_count_agree(client: Client) -> None:
    prompt = with_frames(walk())
    prompt["count"] = node("PreviewAny", source=[SAMPLER, 2])
    prompt["decoded"] = node("VAEDecode", samples=[SAMPLER, 1], vae=["world", 0])
    prompt["saved"] = node("SaveImage", images=["decoded", 0], filename_prefix="decoded")
    run = client.run(prompt)
    streamed = frames(client, run)
    assert streamed.shape == (29, 64, 96, 3)
    assert text(run, "count") == "29"
    assert latents(client, run).shape == (1, 24, 8, 4, 6)
    whole = frames(client, run, "saved")
    assert np.abs(streamed.astype(int) - whole).max() <= 1, "the core VAE Decode gives other frames"


def test_without_a_picture_the_size_comes_from_the_sampler_or_the_model(client: Client) -> None:
    prompt = with_frames(walk("w-3", width=64, height=96))
    del prompt["first"], prompt["picture"], prompt[SAMPLER]["inputs"]["first_frame"]
    sized = client.run(changed(prompt, SAMPLER, width=64, height=96))
    assert frames(client, sized).shape == (13, 96, 64, 3)
    assert frames(client, client.run(prompt)).shape == (13, 160, 288, 3)


def test_previews_play_while_the_sampler_runs(client: Client) -> None:
    prompt = slowed(walk("w-15"), 0.12)
    client.run(changed(prompt, SAMPLER, seed=77))  # loads the model, so that the two runs below compare
    silent = client.run(prompt)
    played = client.run(changed(prompt, SAMPLER, preview=True, chunks=4))  # which the path gives anyway

    assert silent.previews == []
    assert {preview.node for preview in played.previews} == {SAMPLER}
    assert len({preview.picture for preview in played.previews}) > 10
    for preview in played.previews:
        picture = Image.open(io.BytesIO(preview.picture))
        picture.load()
        assert picture.format == "JPEG"
        assert picture.width / picture.height == pytest.approx(96 / 64, rel=0.01)
    # 16 frames a second: not in one burst when a chunk is done
    spans = np.diff([preview.seconds for preview in played.previews])
    assert np.median(spans) > 0.03
    # 3 chunks of 13 or 16 frames were played; waiting for them would have taken 2.8 s
    assert sampling_seconds(played) < 1.2 * sampling_seconds(silent) + 1.5
    assert shown_within_a_chunk(played) >= 10
    assert_same(latents(client, played), latents(client, silent))


def test_progress_counts_denoising_steps(client: Client) -> None:
    run = client.run(walk("w-11", seed=31))
    progress = [data for data in run.of_kind("progress") if data["node"] == SAMPLER]
    assert {data["max"] for data in progress} == {3 * 4}
    values = [data["value"] for data in progress]
    assert values == sorted(values)
    assert values[-1] == 12


def test_interrupt_ends_the_walk_within_a_step(client: Client, fresh_server: ComfyServer) -> None:
    step = 0.8
    run = client.queue(slowed(walk("w-39"), step))
    client.follow(run, until=steps_done(5))  # three steps before the end of the second chunk
    asked = time.monotonic()
    client.interrupt()
    client.follow(run)

    assert run.status == "interrupted"
    assert time.monotonic() - asked < step + 1.4
    assert run.of_kind("execution_error") == []
    assert run.of_kind("execution_interrupted")[0]["node_id"] == SAMPLER

    after = client.run(walk(seed=5))
    assert after.status == "success"
    first_client = Client(fresh_server.url)
    fresh = first_client.run(walk(seed=5))
    assert_same(latents(client, after), latents(first_client, fresh))
    first_client.close()


@pytest.mark.parametrize("preview", [False, True])
def test_interrupt_is_noticed_while_the_last_chunk_is_decoded(client: Client, preview: bool) -> None:
    pause = 0.6
    prompt = walk("w-7", preview=preview, vae=["slow", 0], seed=8)
    prompt["slow"] = node("TestSlowDecoder", vae=["world", 0], seconds=pause)
    run = client.queue(prompt)
    client.follow(run, until=steps_done(8))
    asked = time.monotonic()
    client.interrupt()
    client.follow(run)
    assert run.status == "interrupted"
    assert run.of_kind("execution_interrupted")[0]["node_id"] == SAMPLER
    assert time.monotonic() - asked < pause + 6


def test_the_same_prompt_again_comes_from_the_cache(client: Client) -> None:
    prompt = walk(seed=21)
    first, again = client.run(prompt), client.run(prompt)
    assert SAMPLER not in first.cached
    assert SAMPLER in again.cached
    other = client.run(changed(prompt, SAMPLER, seed=22))
    assert SAMPLER not in other.cached
    assert {"model", "world", "prompt", "first", "path"} <= other.cached
    assert not torch.equal(latents(client, other), latents(client, first))


def test_an_edited_camera_file_is_read_again(server: ComfyServer, client: Client) -> None:
    camera = server.input / "camera.json"
    prompt = walk("camera.json", seed=23)

    def run_along(path: str) -> Run:
        camera.write_text(json.dumps(Trajectory.from_tokens(path).to_json()))
        return client.run(prompt)

    forward, turned = run_along("w-7"), run_along("right-7")
    assert SAMPLER not in turned.cached
    assert_same(latents(client, forward), latents(client, client.run(walk("w-7", seed=23))))
    assert_same(latents(client, turned), latents(client, client.run(walk("right-7", seed=23))))


def test_prompts_queued_back_to_back_do_not_mix(client: Client) -> None:
    wide, tall = with_frames(walk("w-3")), with_frames(walk("right-7", width=64, height=128, seed=2))
    counted = (changed(wide, SAMPLER, chunks=1), changed(tall, SAMPLER, chunks=2))  # what the paths give anyway
    alone = [frames(client, client.run(prompt)) for prompt in counted]
    runs = [client.queue(prompt) for prompt in (wide, tall)]
    together = [frames(client, client.follow(run)) for run in runs]
    assert [film.shape for film in together] == [(13, 64, 96, 3), (29, 128, 64, 3)]
    for before, after in zip(alone, together, strict=True):
        np.testing.assert_array_equal(before, after)
