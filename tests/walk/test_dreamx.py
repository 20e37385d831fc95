"""Walks of a network with a camera branch of its own over a rolling cache: DreamX-World's kind, small and random."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hyworld import World
from hyworld.camera import Trajectory
from hyworld.camera.tokens import DREAMX_SPEEDS
from hyworld.config import DiTConfig
from hyworld.errors import InputError
from hyworld.walk import WORLDPLAY, Rolling, Walker
from hyworld.walk.recipes import DREAMX_5B, DREAMX_5B_BF16, DREAMX_5B_RECALL

from .streaming import PICTURE, RAIN, TEXT, Counted

CONFIG = DiTConfig(
    num_heads=3, head_dim=8, num_layers=2, ffn_dim=32, latent_channels=6, text_dim=10, freq_dim=16, camera_width=12
)
PATH = Trajectory.from_tokens("w-4, w+left-6, up-3, d-4", DREAMX_SPEEDS)  # 18 latents
CHUNKS = 6
WORDS = {2: RAIN, 4: TEXT}


def walker(recipe=DREAMX_5B, **settings) -> Walker:
    return Walker(Counted(0, CONFIG), recipe=recipe, **settings)


def begun(walker: Walker) -> World:
    return walker.begin(TEXT.text, prompt=TEXT.prompt, first_frame=PICTURE, seed=3)


def walked(walker: Walker, world: World, path: Trajectory, chunks: int = 0) -> list[World]:
    return [chunk.world for chunk in walker.walk(world, path, chunks, words=WORDS)]


@pytest.fixture(scope="module")
def straight() -> tuple[World, list[World]]:
    one = walker()
    start = begun(one)
    return start, [start, *walked(one, start, PATH)]


def rest(worlds: list[World], at: int) -> list[Trajectory]:
    """The cameras of the chunks after the first `at`."""
    return [step.cameras for step in worlds[-1].history[at:]]


def test_the_first_three_and_the_latest_nine_are_seen(straight):
    _, worlds = straight
    assert worlds[-1].memory_frames[5] == (0, 1, 2, *range(9, 15))


def test_a_loaded_world_goes_on_as_if_it_had_never_stopped(straight, tmp_path: Path):
    _, worlds = straight
    for at in (1, 3, 5):
        loaded = World.load(worlds[at].save(tmp_path / f"{at}.world"))
        assert loaded == worlds[at]
        for chunk in walker().walk(loaded, rest(worlds, at), words=WORDS):
            loaded = chunk.world
        assert loaded == worlds[-1]


def test_a_world_is_rewound_and_branched_from(straight):
    start, worlds = straight
    one = walker()
    end = walked(one, start, PATH)[-1]
    for at in (4, 2):
        back = end.at_chunk(at)
        elsewhere = [
            chunk.world for chunk in one.walk(back, Trajectory.from_tokens("s-3", DREAMX_SPEEDS), words=WORDS)
        ][-1]
        assert not torch.equal(elsewhere.history[at].latents, end.history[at].latents)
        again = back
        for chunk in one.walk(back, rest(worlds, at), words=WORDS):
            again = chunk.world
        assert again == end == worlds[-1]


def test_the_picture_is_given_at_timestep_0_and_read_with_the_others():
    one = walker()
    walked(one, begun(one), PATH, 2)
    network = one.network
    first = network.asked[0].timestep[0].tolist()
    assert first == [0.0, 1000.0, 1000.0]
    read = next(inputs for inputs in network.asked if inputs.prefill)
    assert read.timestep[0].tolist() == pytest.approx([0.1] * 3)
    assert torch.equal(read.latents[:, :, :1], PICTURE)


def test_cameras_are_told_from_the_latent_before_the_chunk():
    one = walker()
    walked(one, begun(one), PATH, 3)
    for chunk, asked in enumerate(inputs for inputs in one.network.asked if inputs.timestep[0, -1] == 1000):
        origin = PATH.c2w[max(0, 3 * chunk - 1)]
        want = torch.from_numpy(np.linalg.inv(PATH.c2w[3 * chunk : 3 * chunk + 3]) @ origin).float()
        assert torch.allclose(asked.viewmats[0], want, atol=1e-6)
        assert asked.action is None


def test_cameras_change_the_picture():
    other = Trajectory.from_tokens("s-17", DREAMX_SPEEDS)
    ends = [walked(one := walker(), begun(one), path, 2)[-1] for path in (PATH, other)]
    assert not torch.equal(ends[0].latents, ends[1].latents)


def test_a_path_in_words_is_walked_at_its_own_pace():
    one = walker()
    told = walked(one, begun(one), "w-4, w+left-1")[-1]
    assert told == walked(one, begun(one), PATH, 2)[-1]
    with pytest.warns(UserWarning, match="as made for WorldPlay, but DreamX-World was trained with 0.3"):
        one.walk(begun(one), Trajectory.from_tokens("w-8"))


def test_rounded_timesteps_are_told_as_its_own_program_does():
    one = walker(DREAMX_5B_BF16)
    walked(one, begun(one), PATH, 1)
    assert [inputs.timestep[0, -1].item() for inputs in one.network.asked] == [1000, 936, 832, 624]
    exact = walker()
    assert not torch.equal(walked(one, begun(one), PATH, 1)[0].latents, walked(exact, begun(exact), PATH, 1)[0].latents)


@pytest.mark.parametrize(
    ("config", "recipe"),
    [
        (CONFIG, WORLDPLAY),
        (replace(CONFIG, camera_width=0), DREAMX_5B),
        (replace(CONFIG, camera_width=0, cameras=False), DREAMX_5B),
        (CONFIG, replace(DREAMX_5B, camera_branch=False)),
    ],
)
def test_another_kinds_recipe_is_refused(config: DiTConfig, recipe):
    with pytest.raises(InputError, match="is not for a model that follows"):
        Walker(Counted(0, config), recipe=recipe)


def test_sizes_that_make_no_camera_heads_are_refused():
    for wrong in ({"camera_width": 10}, {"cameras": False}):
        with pytest.raises(InputError, match="camera_width must be 0, or with cameras a multiple of 12"):
            replace(CONFIG, **wrong)


def test_the_window_may_have_other_sizes():
    one = walker(replace(DREAMX_5B, memory=Rolling(window=6, sink=3, rotated=False)))
    world = walked(one, begun(one), PATH)[-1]
    assert world.memory_frames[5] == (0, 1, 2, 12, 13, 14)


TURNING = Trajectory.from_tokens("w-5, left-15, w-3, right-9", DREAMX_SPEEDS)  # 11 chunks


def test_an_older_chunk_is_recalled_by_what_it_saw(tmp_path: Path):
    one = walker(DREAMX_5B_RECALL)
    start = begun(one)
    worlds = [start, *walked(one, start, TURNING)]
    end = worlds[-1]
    plain = walked(walker(), begun(walker()), TURNING)[-1]
    assert [step.memory_frames for step in end.history[:4]] == [step.memory_frames for step in plain.history[:4]]
    assert torch.equal(worlds[4].latents, plain.at_chunk(4).latents)
    assert not torch.equal(worlds[5].latents, plain.at_chunk(5).latents)
    for chunk, step in enumerate(end.history[4:], start=4):
        first, clip, last = (step.memory_frames[i : i + 3] for i in (0, 3, 6))
        assert (first, last) == ((0, 1, 2), tuple(range(3 * chunk - 3, 3 * chunk)))
        assert clip[0] % 3 == 0
        assert 3 <= clip[0] < 3 * chunk - 6
        assert clip == tuple(range(clip[0], clip[0] + 3))
    # Turned back, it looks where it looked when it turned away, and not at the very first latents behind the sink.
    assert end.history[-1].memory_frames[3] > 3

    for at in (3, 5, 8):
        loaded = World.load(worlds[at].save(tmp_path / f"{at}.world"))
        for chunk in walker(DREAMX_5B_RECALL).walk(loaded, rest(worlds, at), words=WORDS):
            loaded = chunk.world
        assert loaded == end
        elsewhere = Trajectory.from_tokens("s-3", DREAMX_SPEEDS)
        branch = [chunk.world for chunk in one.walk(end.at_chunk(at), elsewhere, words=WORDS)][-1]
        fresh = walker(DREAMX_5B_RECALL)
        assert [chunk.world for chunk in fresh.walk(end.at_chunk(at), elsewhere, words=WORDS)][-1] == branch
        again = branch.at_chunk(at)
        for chunk in one.walk(again, rest(worlds, at), words=WORDS):
            again = chunk.world
        assert again == end


def test_recalling_costs_one_forward_a_chunk():
    asked = []
    for recipe in (DREAMX_5B, DREAMX_5B_RECALL):
        one = walker(recipe)
        walked(one, begun(one), TURNING, 9)
        asked.append(len(one.network.asked))
    assert asked[1] - asked[0] == 9 - 4
