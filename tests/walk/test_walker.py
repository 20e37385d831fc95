"""The loop: faithful to the original's, the same however it is cut, branched or interleaved."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from hyworld import Chunk, InputError, Progress, Trajectory, World
from hyworld.config import MemoryConfig
from hyworld.dit import PLAIN, WanDiT
from hyworld.dit.fp8_attention import PLAIN_FP8
from hyworld.vae import Wan22VAE
from hyworld.verify import REFERENCE
from hyworld.verify.network import check_rollout
from hyworld.walk import WORLDPLAY, Recipe, Step, Walker, decoding, reconstituted, walker
from hyworld.walk.recipe import chunk_noise
from hyworld.weights.random import randomise

from .conftest import CONFIG, PARTS, PATH, POINTS, SIZE, TEXT, walker_for

STEPS = WORLDPLAY.steps


def walked(model: WanDiT, chunks: int = 0, path: Trajectory = PATH, **begin) -> torch.Tensor:
    """All latents of a walk of its own."""
    own = walker_for(model)
    world = own.begin(**{"text": TEXT, "latent_size": SIZE, **begin})
    return torch.cat([chunk.latents for chunk in own.walk(world, path, chunks)], dim=2)


def shorter(step: Step) -> Step:
    return replace(step, latents=step.latents[:, :, :3], cameras=step.cameras[:3])


def begun(model: WanDiT, vae: Wan22VAE | None = None, **begin) -> tuple[Walker, World]:
    own = walker_for(model, vae)
    return own, own.begin(**{"text": TEXT, "latent_size": SIZE, **begin})


def test_whole_rollouts_equal_the_original():
    items = list(
        check_rollout(
            REFERENCE / "dit_weights.safetensors",
            REFERENCE / "rollout.safetensors",
            REFERENCE / "rollout_no_image.safetensors",
            torch.device("cpu"),
            torch.float32,
            1e-5,
        )
    )
    assert [item.name for item in items if "latents" in item.name] == ["rollout.latents", "rollout_no_image.latents"]
    assert [item for item in items if not item.passed] == []


def test_frames_and_memory_of_a_walk(model: WanDiT, vae: Wan22VAE):
    own, world = begun(model, vae)
    chunks = list(own.walk(world, PATH))
    assert [len(chunk.frames) for chunk in chunks] == [13, *[16] * 6]
    assert chunks[0].frames.shape == (13, 64, 96, 3)
    assert chunks[0].frames.dtype == torch.uint8
    assert [len(chunk.memory_frames) for chunk in chunks] == [0, 4, 8, 12, 16, 16, 16]
    assert chunks[5].memory_frames[-12:] == tuple(range(8, 20))
    assert chunks[-1].world.video_frames == sum(len(chunk.frames) for chunk in chunks)


def test_streamed_frames_equal_decoding_everything_at_the_end(model: WanDiT, vae: Wan22VAE):
    own, world = begun(model, vae)
    chunks = list(own.walk(world, PATH, 3))
    streamed = torch.cat([chunk.frames for chunk in chunks])
    whole = vae.decode(chunks[-1].world.latents)
    want = (whole[0].permute(1, 2, 3, 0).clamp(-1, 1) * 127.5 + 127.5).round()
    assert (streamed.float() - want).abs().max() <= 1


def test_what_was_foreseen_binds_to_nothing(model: WanDiT):
    """The poses announced for the next chunk may come or not: what is remembered follows those that came."""
    parts, other = PARTS, Trajectory.from_tokens("s-3, left-10, a-8, right-6").split(4)
    worlds = []
    for announced in ([*parts[1:], None], other, [None] * 7):
        own, world = begun(model)
        for cameras, following in zip(parts, announced, strict=False):
            world = own.step(world, cameras, following=following).world
        worlds.append(world)
    assert worlds[0] == worlds[1] == worlds[2]


def test_networks_run_while_their_device_is_the_current_one(
    model: WanDiT, vae: Wan22VAE, monkeypatch: pytest.MonkeyPatch
):
    """Triton and CUDA graphs go to the current GPU, whichever the tensors are on."""
    inside: list[torch.device] = []
    seen: list[list[torch.device]] = []

    @contextmanager
    def current(device: torch.device) -> Iterator[None]:
        inside.append(device)
        yield
        inside.pop()

    monkeypatch.setattr(walker, "current", current)
    monkeypatch.setattr(decoding, "current", current)
    for owner, name in ((WanDiT, "text_keys_values"), (WanDiT, "forward"), (Wan22VAE, "decode_stream")):
        inner = getattr(owner, name)

        def watched(self, *args, inner=inner, **kwargs):
            seen.append(list(inside))
            return inner(self, *args, **kwargs)

        monkeypatch.setattr(owner, name, watched)
    own, world = begun(model, vae)
    own.step(world, PARTS[0])
    assert seen == [[torch.device("cpu")]] * (1 + STEPS + 1)


def test_a_longer_plan_does_not_change_the_beginning(model: WanDiT):
    assert torch.equal(walked(model, 2), walked(model)[:, :, :8])


def test_branched_and_interleaved_worlds_are_the_same_worlds(model: WanDiT, vae: Wan22VAE):
    own, world = begun(model, vae)
    straight = list(own.walk(world, PATH, 5))
    kept = straight[1].world
    other = own.begin(torch.randn(1, 3, 12), latent_size=(6, 4), seed=5)
    for _ in range(2):
        # Another world, of another size and prompt, is walked by the same walker in between.
        other = next(own.walk(other, "s-4")).world
        for got, want in zip(own.walk(kept, iter(PARTS[2:5])), straight[2:], strict=True):
            assert got.index == want.index
            assert got.world == want.world
            assert torch.equal(got.frames, want.frames)
    assert kept.chunks == 2
    assert kept.video_frames == 29
    assert straight[4].world.at_chunk(2) == kept


def test_a_path_begins_where_the_world_stands(model: WanDiT):
    """Twice the same tokens lead twice as far, and not back to the origin."""
    own, world = begun(model)
    first = list(own.walk(world, "w-3"))[-1].world
    onwards = list(own.walk(first, "w-4"))[-1].world
    straight = list(own.walk(world, "w-7"))[-1].world
    assert onwards.path.c2w[-1, 2, 3] == pytest.approx(7 * 0.08)
    torch.testing.assert_close(onwards.latents, straight.latents, rtol=1e-4, atol=1e-5)
    assert torch.equal(onwards.latents[:, :, :4], first.latents)


def test_poses_of_an_iterator_are_asked_for_when_they_are_wanted(model: WanDiT):
    own, world = begun(model)
    asked: list[int] = []

    def live() -> Iterator[Trajectory]:
        for i in range(3):
            asked.append(i)
            yield PARTS[i]

    walk = own.walk(world, live())
    assert asked == []
    for made in range(3):
        chunk = next(walk)
        assert (chunk.index, asked) == (made, list(range(made + 1)))
    assert list(walk) == []
    assert len(list(own.walk(world, live(), 2))) == 2


def test_cameras_are_told_relative_to_the_chunks_first(model: WanDiT, monkeypatch: pytest.MonkeyPatch):
    """So the same walk a hundred units away gives the network the same numbers."""
    near = PATH.require_chunks(6)
    there = near.c2w.copy()
    there[:, :3, 3] += 100
    far = replace(near, c2w=there)
    told: list[list[torch.Tensor]] = []
    forward = WanDiT.forward

    def watched(self, inputs):
        told[-1].append(inputs.viewmats)
        return forward(self, inputs)

    monkeypatch.setattr(WanDiT, "forward", watched)
    for path in (near, far):
        told.append([])
        own, world = begun(model)
        list(own.walk(world, path))
    assert len(told[0]) == len(told[1]) == 6 * STEPS + 5
    for a, b in zip(*told, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_a_recipe_is_a_value(model: WanDiT):
    """Another checkpoint may have chunks of another length, another schedule and another memory."""
    recipe = Recipe(chunk_latents=2, timesteps=(1000.0, 500.0), memory=MemoryConfig(frames=6, recent=4))
    own = Walker(model, recipe=recipe, points=POINTS)
    world = own.begin(TEXT, latent_size=SIZE)
    seen: list[Progress] = []
    chunks = list(own.walk(world, PATH, 6, on_progress=seen.append))
    assert [chunk.latents.shape[2] for chunk in chunks] == [2] * 6
    assert [len(chunk.memory_frames) for chunk in chunks] == [0, 2, 4, 6, 6, 6]
    assert chunks[5].memory_frames[-4:] == (6, 7, 8, 9)
    assert seen[:3] == [(0, 0), (0, 1), (0, 2)]


def test_the_first_frame_is_held(model: WanDiT):
    first = torch.randn(1, 6, 1, *SIZE)
    held = walked(model, 1, first_frame=first)
    assert torch.equal(held[:, :, :1], first)
    assert not torch.allclose(held[:, :, 1:], walked(model, 1)[:, :, 1:], atol=1e-3)


@pytest.mark.parametrize(
    "changed",
    [{"seed": 1}, {"text": TEXT + 1}, {"path": Trajectory.from_tokens("left-7")}],
    ids=lambda d: next(iter(d)),
)
def test_every_input_changes_the_world(model: WanDiT, changed: dict):
    assert not torch.allclose(walked(model, 2), walked(model, 2, **changed), atol=1e-3)


def test_explicit_noise_replaces_the_seed(model: WanDiT):
    noise = chunk_noise(3, 0, (1, 6, 4, *SIZE))
    own, world = begun(model, seed=99)
    given = own.step(world, PARTS[0], noise=noise)
    assert torch.equal(given.latents, walked(model, 1, seed=3))


def test_progress_is_told_and_an_interrupt_leaves_the_world_as_it_was(model: WanDiT):
    class StopHereError(Exception):
        pass

    seen: list[Progress] = []
    made: list[Chunk] = []

    def stop_in_chunk_1(progress: Progress) -> None:
        seen.append(progress)
        if progress == (1, 2):
            raise StopHereError

    own, world = begun(model)
    with pytest.raises(StopHereError):
        made.extend(own.walk(world, PATH, on_progress=stop_in_chunk_1))
    assert seen == [*[(0, step) for step in range(STEPS + 1)], (1, 0), (1, 1), (1, 2)]
    assert world.chunks == 0
    again = own.step(next(own.walk(world, PATH)).world, PARTS[1])
    assert torch.equal(again.latents, walked(model, 2)[:, :, 4:])


def test_running_out_of_memory_in_one_world_leaves_another_as_it_was(model: WanDiT, monkeypatch: pytest.MonkeyPatch):
    """B is larger and has other words; the card does not hold it. A goes on with A's words."""
    own, a = begun(model)
    b = own.begin(TEXT + 1, latent_size=(12, 16))
    a = next(own.walk(a, PATH)).world
    allocate = reconstituted.KVMemory

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(reconstituted, "KVMemory", full)
    with pytest.raises(torch.OutOfMemoryError):
        next(own.walk(b, PATH))
    monkeypatch.setattr(reconstituted, "KVMemory", allocate)
    assert torch.equal(own.step(a, PARTS[1]).latents, walked(model, 2)[:, :, 4:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": torch.zeros(1, 5, 11), "latent_size": SIZE}, r"shape \[1, tokens, 12\]"),
        ({"text": TEXT}, "latent_size"),
        ({"text": TEXT, "latent_size": (5, 6)}, "even"),
        ({"text": TEXT, "latent_size": SIZE, "seed": -1}, "seed"),
        ({"text": TEXT, "first_frame": torch.zeros(1, 7, 1, 4, 6)}, r"\[1, 6, 1, 4, 6\], got \[1, 7, 1, 4, 6\]"),
        (
            {"text": TEXT, "first_frame": torch.zeros(1, 6, 1, 4, 8), "latent_size": SIZE},
            r"1, 4, 6\], got \[1, 6, 1, 4, 8\]",
        ),
    ],
)
def test_wrong_input_is_refused_where_it_enters(model: WanDiT, arguments: dict, message: str):
    with pytest.raises(InputError, match=message):
        walker_for(model).begin(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda world: replace(world, text=torch.zeros(1, 5, 11)), r"\[1, tokens, 12\], got \[1, 5, 11\]"),
        (lambda world: replace(world, latent_shape=(7, *SIZE)), "7 latent channels, but this model needs 6"),
        (lambda world: replace(world, latent_shape=(6, 6, 6)), "Chunk 1 of the world has latents of shape"),
        (lambda world: replace(world, text=TEXT.expand(2, -1, -1)), r"got \[2, 5, 12\]"),
        (lambda world: replace(world, text=TEXT[:, :0]), r"got \[1, 0, 12\]"),
        (lambda world: replace(world, first_frame=torch.zeros(1, 6, 1, 2, 2)), "first frame's latent"),
        (lambda world: replace(world, seed=-1), "seed"),
        (lambda world: replace(world, seed=0.5), "seed must be a whole number"),
        (
            lambda world: replace(world, history=(shorter(world.history[0]),)),
            r"and 3 poses, but \[1, 6, 4, 4, 6\] and 4 are needed",
        ),
    ],
)
def test_a_world_that_does_not_fit_is_refused_before_anything_runs(
    model: WanDiT, monkeypatch: pytest.MonkeyPatch, change, message: str
):
    own, world = begun(model)
    world = change(next(own.walk(world, PATH)).world)
    monkeypatch.setattr(WanDiT, "forward", lambda *_: pytest.fail("the network ran"))
    with pytest.raises(InputError, match=message):
        own.walk(world, PATH)
    with pytest.raises(InputError, match=message):
        own.step(world, PARTS[1])


def test_a_world_of_another_precision_is_walked_on_in(model: WanDiT, vae: Wan22VAE):
    """Walked in float32, then by a bfloat16 network and decoder."""
    own, world = begun(model, vae)
    world = list(own.walk(world, PATH, 5))[-1].world
    half = randomise(WanDiT(CONFIG), 0).to(torch.bfloat16)
    other = walker_for(half, randomise(Wan22VAE(vae.config), 1).to(torch.bfloat16), dtype=torch.bfloat16)
    stored = replace(
        world, text=TEXT.half(), history=tuple(replace(s, latents=s.latents.double()) for s in world.history)
    )
    chunk = other.step(stored, PARTS[5])
    exact = own.step(world, PARTS[5])
    assert [step.latents.dtype for step in chunk.world.history] == [torch.float32] * 5 + [torch.bfloat16]
    assert (chunk.latents - exact.latents).norm() / exact.latents.norm() < 0.03
    assert (chunk.frames.float() - exact.frames.float()).abs().mean() < 8


def test_a_world_goes_home_step_by_step(model: WanDiT):
    """What is at home already stays the same object: decoder caches are known by it."""
    own, world = begun(model)
    world = list(own.walk(world, PATH, 3))[-1].world
    wide = replace(world.history[1], latents=world.history[1].latents.double())
    stored = replace(
        world, history=(world.history[0], wide, world.history[2]), first_frame=torch.zeros(1, 6, 1, *SIZE).half()
    )
    chunk = next(own.walk(stored, "w-4"))
    assert [a is b for a, b in zip(chunk.world.history, world.history, strict=False)] == [True, False, True]
    assert chunk.world.history[1] == world.history[1]
    assert chunk.world.first_frame.dtype == torch.float32


def test_changing_what_was_given_changes_no_world(model: WanDiT):
    own = walker_for(model)
    text, first = TEXT.clone(), torch.zeros(1, 6, 1, *SIZE)
    world = own.begin(text, first_frame=first)
    text += 1
    first += 1
    assert torch.equal(world.text, TEXT)
    assert not world.first_frame.any()


def test_latents_left_over_are_said(model: WanDiT):
    own, world = begun(model)
    with pytest.warns(UserWarning, match="The path has 6 latents; the first 4 .* and the last 2 left out"):
        own.walk(world, "w-5")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own.walk(world, Trajectory.from_tokens("w-5").require_chunks())  # its maker has the note
        own.walk(world, "w-5", 1)  # as asked for


def test_a_path_that_is_too_short_names_both_counts(model: WanDiT):
    own, world = begun(model)
    with pytest.raises(InputError, match=r"13.*5|5.*13"):
        own.walk(world, "w-12", 5)
    with pytest.raises(InputError, match="at least 0"):
        own.walk(world, iter([]), -1)


def test_a_chunk_takes_four_poses(model: WanDiT):
    own, world = begun(model)
    short = Trajectory.from_tokens("w-2")
    with pytest.raises(InputError, match="exactly 4"):
        own.step(world, short)
    with pytest.raises(InputError, match="exactly 4"):
        own.step(world, PARTS[0], following=short)
    with pytest.raises(InputError, match="as a Trajectory, got 'w-4'"):
        next(own.walk(world, ["w-4"]))
    with pytest.raises(InputError, match="noise of a chunk"):
        own.step(world, PARTS[0], noise=torch.zeros(1, 6, 3, *SIZE))


def test_a_network_that_returns_nan_ends_the_walk_with_a_sentence(model: WanDiT, vae: Wan22VAE):
    broken = randomise(WanDiT(CONFIG), 0)
    broken.head.head.bias[0] = float("nan")
    own, world = begun(broken, vae)
    with pytest.raises(InputError, match="NaN or infinity: choose bfloat16"):
        next(own.walk(world, PATH))


def test_bfloat16_stays_close_to_float32(model: WanDiT):
    own = walker_for(randomise(WanDiT(CONFIG), 0).to(torch.bfloat16), dtype=torch.bfloat16)
    got = own.step(own.begin(TEXT, latent_size=SIZE), PARTS[0]).latents
    exact = walked(model, 1)
    assert got.dtype == torch.bfloat16
    assert (got - exact).norm() / exact.norm() < 0.02


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("fp8", [False, True])
def test_the_bytes_needed_are_those_allocated(model: WanDiT, compact: bool, fp8: bool, monkeypatch: pytest.MonkeyPatch):
    if fp8:
        monkeypatch.setattr(model, "kernels", PLAIN._replace(fp8=PLAIN_FP8))
    own = Walker(model, compact_memory=compact, fp8_memory=fp8, points=POINTS)
    next(own.walk(own.begin(TEXT, latent_size=SIZE), PATH))
    memory = own._cache._kv
    assert memory is not None
    buffers = (*memory._k, *memory._v, *(memory._scales or ()), *(memory._scratch or ()))
    assert own.bytes_needed(SIZE)[0] == sum(buffer.nbytes for buffer in buffers)
