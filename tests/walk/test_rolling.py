"""Walks over a rolling cache: the same world however it is cut, and no forward too many."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hyworld import Chunk, Progress, World
from hyworld.dit import RollingMemory
from hyworld.walk import Rolling, Walker

from .streaming import DISTILLED, NEGATIVE, RAIN, RECIPES, SIZE, TEXT, begun, noise, walked, walker_for

CHUNKS = 6
WORDS = {2: RAIN, 4: TEXT}

every_recipe = pytest.mark.parametrize("name", RECIPES)


def straight(name: str) -> tuple[Walker, list[World]]:
    """A walker, and the worlds it comes through on a walk from the beginning to the end."""
    walker = walker_for(RECIPES[name])
    start = begun(walker)
    return walker, [start, *(chunk.world for chunk in walker.walk(start, chunks=CHUNKS, words=WORDS))]


@every_recipe
def test_a_loaded_world_goes_on_as_if_it_had_never_stopped(name: str, tmp_path: Path):
    _, worlds = straight(name)
    for at in (1, 3, 5):
        loaded = World.load(worlds[at].save(tmp_path / f"{at}.world"))
        assert loaded == worlds[at]
        assert walked(walker_for(RECIPES[name]), loaded, CHUNKS - at, words=WORDS) == worlds[-1]


@every_recipe
def test_a_world_is_rewound_and_branched_from(name: str):
    walker, worlds = straight(name)
    end = worlds[-1]
    for at in (3, 5, 1):
        back = end.at_chunk(at)
        branch = walked(walker, replace(back, seed=9), 2, words=WORDS)
        assert not torch.equal(branch.history[at].latents, end.history[at].latents)
        assert walked(walker_for(RECIPES[name]), replace(back, seed=9), 2, words=WORDS) == branch
        assert walked(walker, back, CHUNKS - at, words=WORDS) == end


def test_worlds_are_walked_in_turns():
    """Another seed, other words and another size in between."""
    walker, worlds = straight("sink")
    one, other = worlds[0], walker.begin(RAIN.text, latent_size=(6, 4), seed=5)
    for _ in range(CHUNKS):
        one = walked(walker, one, 1, words=WORDS)
        other = walked(walker, other, 1)
    assert one == worlds[-1]
    assert other == walked(walker_for(RECIPES["sink"]), other.at_chunk(0), CHUNKS)


@every_recipe
def test_every_forward_is_needed(name: str):
    """A step for each branch in charge; before the next chunk a pass over the clean latents for every branch."""
    recipe = RECIPES[name]
    walker, _ = straight(name)
    high, low = walker.network, walker.second
    asked = [len(network.asked) for network in (high, low) if network]
    guided = 2 if recipe.is_guided else 1
    at_whole_picture = recipe.picture == "stamp" and recipe.chunk_latents == 1
    chunks = CHUNKS - at_whole_picture
    if low is None:
        assert asked == [guided * (chunks * recipe.steps + CHUNKS - 1)]
    else:
        assert recipe.timesteps == (1000.0, pytest.approx(5000 / 6))
        assert asked == [guided * (chunks + CHUNKS - 1)] * 2


def test_without_guidance_the_negative_prompt_is_not_told():
    walker = walker_for(DISTILLED)
    plain = walked(walker, begun(walker), 2)
    asked = len(walker.network.asked)
    again = walked(walker, replace(begun(walker), negative=NEGATIVE), 2)
    assert torch.equal(again.latents, plain.latents)
    assert len(walker.network.asked) == 2 * asked


def test_the_last_chunk_is_made_again_without_reading_the_past_again():
    walker, worlds = straight("sink")
    walker.network.timesteps()
    again = walked(walker, replace(worlds[-2], seed=3), 1)
    assert walker.network.timesteps() == list(DISTILLED.timesteps)
    assert walked(walker_for(RECIPES["sink"]), replace(worlds[-2], seed=3), 1) == again


def test_an_interrupted_chunk_leaves_the_past_as_it_was():
    worlds = straight("sink")[1]

    class StopHereError(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress == (4, 1):
            raise StopHereError

    made: list[Chunk] = []
    other = walker_for(RECIPES["sink"])
    with pytest.raises(StopHereError):
        made.extend(other.walk(worlds[0], chunks=CHUNKS, words=WORDS, on_progress=stop))
    other.network.timesteps()
    assert walked(other, made[-1].world, 2, words=WORDS) == worlds[-1]
    steps = list(DISTILLED.timesteps)
    assert other.network.timesteps() == [*steps, 0.0, *steps], "what was read before is not read again"


def test_a_forward_that_fails_while_the_past_is_read_costs_the_past(monkeypatch: pytest.MonkeyPatch):
    _, worlds = straight("sink")
    walker = walker_for(RECIPES["sink"])
    forward = RollingMemory.commit
    commits = []

    def full(self):
        commits.append(forward(self))
        if len(commits) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(RollingMemory, "commit", full)
    with pytest.raises(torch.OutOfMemoryError):
        walked(walker, worlds[4], 1)
    assert walked(walker, worlds[4], 2, words=WORDS) == worlds[-1]


def test_reading_a_long_past_can_be_stopped():
    _, worlds = straight("window")
    walker = walker_for(RECIPES["window"])
    told: list[Progress] = []
    walked(walker, worlds[5], 1, on_progress=told.append)
    # Four chunks longer ago than the last, the chunk's beginning, its two steps.
    assert told == [(5, 0)] * 4 + [(5, 0), (5, 1), (5, 2)]


def test_other_words_change_what_comes_and_not_what_was():
    walker = walker_for(DISTILLED)
    plain = walked(walker, begun(walker), 4)
    told = walked(walker, begun(walker), 4, words={2: RAIN})
    assert torch.equal(told.latents[:, :, :4], plain.latents[:, :, :4])
    assert (told.latents[:, :, 4:] - plain.latents[:, :, 4:]).abs().max() > 1e-3
    assert [step.words.prompt for step in told.history] == [TEXT.prompt] * 2 + [RAIN.prompt] * 2


@pytest.mark.parametrize("changed", ["negative", "clip", "first_frame"])
def test_a_past_read_with_another_picture_or_negative_prompt_is_read_again(changed: str):
    walker, worlds = straight("channels")
    other = {"negative": RAIN, "clip": noise(1, 3, 8, seed=8), "first_frame": noise(1, 6, 2, *SIZE, seed=8)}[changed]
    goes_on = walked(walker, worlds[2], 1)
    branch = walked(walker, replace(worlds[2], **{changed: other}), 1)
    assert not torch.equal(branch.latents, goes_on.latents)
    assert walked(walker_for(RECIPES["channels"]), replace(worlds[2], **{changed: other}), 1) == branch


def test_context_noise_is_not_of_the_seed():
    """A world that went on with another seed may be loaded: what was read then must be read again."""
    recipe = RECIPES["context noise"]
    walker = walker_for(recipe)
    world = walked(walker, replace(walked(walker, begun(walker), 2), seed=7), 1)
    onwards = walked(walker, world, 1)
    assert walked(walker_for(recipe), world, 1) == onwards
    clean = walker_for(replace(recipe, context_noise=0.0))
    assert not torch.equal(walked(clean, world, 1).latents, onwards.latents)


def test_all_noise_may_be_given():
    recipe = RECIPES["context noise"]
    own, other = walker_for(recipe), walker_for(recipe)
    given = [noise(recipe.draws, 1, 6, 2, *SIZE, seed=seed) for seed in (1, 2, 3)]
    with_another_context = [given[0].clone(), *given[1:]]
    with_another_context[0][-1] += 1
    worlds = []
    for walker, draws in ((own, given), (other, with_another_context)):
        world = begun(walker)
        for draw in draws:
            world = walker.step(world, noise=draw).world
        worlds.append(world)
    one, another = worlds
    assert torch.equal(one.history[0].latents, another.history[0].latents), "not read before the next chunk"
    assert not torch.equal(one.history[1].latents, another.history[1].latents)


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("window", [(), (0, 1), (2, 3)]),
        ("sink", [(), (0, 1), (0, 1, 2, 3), (0, 3, 4, 5), (0, 5, 6, 7)]),
        ("rerope", [(), (0, 1), (0, 1, 2, 3), (0, 1, 2, 5), (0, 1, 2, 7)]),
        ("window of one chunk and a half", [(), (0, 1), (0, 1, 3), (0, 1, 5)]),
        ("framewise", [(), (0,), (0, 1), (1, 2), (2, 3)]),
    ],
)
def test_a_chunk_says_which_latents_it_saw(name: str, seen: list[tuple[int, ...]]):
    _, worlds = straight(name)
    assert list(worlds[-1].memory_frames[: len(seen)]) == seen


@every_recipe
def test_the_bytes_needed_are_those_allocated(name: str):
    walker, _ = straight(name)
    memories = walker._cache._memories
    buffers = [buffer for memory in memories for buffer in (*memory._k, *memory._v, *(memory._scratch or ()))]
    assert walker.bytes_needed(SIZE)[0] == sum(buffer.nbytes for buffer in buffers)
    assert len(memories) == (1 + RECIPES[name].is_guided) * (1 + (RECIPES[name].boundary is not None))


def test_half_precision_stays_close_and_goes_on_the_same():
    exact = straight("guided")[1][2]
    halves = [walker_for(RECIPES["guided"], dtype=torch.bfloat16) for _ in range(2)]
    for walker in halves:
        walker.network.model.bfloat16()
    got = walked(halves[0], begun(halves[0]), 2)
    assert got.history[0].latents.dtype == torch.bfloat16
    assert (got.latents - exact.latents).norm() / exact.latents.norm() < 0.05
    assert walked(halves[1], got, 2) == walked(halves[0], got, 2)


def test_a_window_of_one_chunk_sees_no_past():
    recipe = replace(DISTILLED, memory=Rolling(window=2))
    walker = walker_for(recipe)
    world = walked(walker, begun(walker), 2)
    assert world.memory_frames == ((), ())
