"""The engine: faithful to the original's loop, the same however it is cut, resumed or interleaved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from hyworld import InputError, Progress, RolloutEngine, Trajectory
from hyworld.config import TINY, TINY_RANDOM, DiTConfig, VAEConfig
from hyworld.dit import WorldPlayDiT
from hyworld.rollout import engine as engine_module
from hyworld.rollout.schedule import STEPS, chunk_noise
from hyworld.vae import WanVAE
from hyworld.verify import REFERENCE
from hyworld.verify.network import check_rollout
from hyworld.weights.random import randomise

SIZE = (4, 6)
CONFIG = DiTConfig(num_heads=2, head_dim=16, num_layers=2, ffn_dim=48, latent_channels=6, text_dim=12, freq_dim=16)
VAE_CONFIG = VAEConfig(encoder_dim=4, decoder_dim=4, z_dim=6, latents_mean=(0.0,) * 6, latents_std=(1.0,) * 6)
PATH = Trajectory.from_tokens("w-7, right-9, d-6, left-5")
TEXT = torch.randn(1, 5, 12, generator=torch.Generator().manual_seed(0))
POINTS = torch.randn(500, 3, generator=torch.Generator().manual_seed(1)) * 3


@pytest.fixture(scope="module")
def model() -> WorldPlayDiT:
    return randomise(WorldPlayDiT(CONFIG), 0)


@pytest.fixture(scope="module")
def vae() -> WanVAE:
    return randomise(WanVAE(VAE_CONFIG), 1)


def started(model: WorldPlayDiT, vae: WanVAE | None = None, *, seed: int = 0, first_frame=None, text=TEXT):
    engine = RolloutEngine(model, decoder=vae, points=POINTS)
    engine.start(text, latent_size=SIZE, seed=seed, first_frame=first_frame)
    return engine


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


def test_frames_and_memory_of_a_walk(model: WorldPlayDiT, vae: WanVAE):
    chunks = list(started(model, vae).run(PATH))
    assert [len(chunk.frames) for chunk in chunks] == [13, *[16] * 6]
    assert chunks[0].frames.shape == (13, 64, 96, 3)
    assert chunks[0].frames.dtype == torch.uint8
    assert [len(chunk.memory_frames) for chunk in chunks] == [0, 4, 8, 12, 16, 16, 16]
    assert chunks[5].memory_frames[-12:] == tuple(range(8, 20))


def test_streamed_frames_equal_decoding_everything_at_the_end(model: WorldPlayDiT, vae: WanVAE):
    engine = started(model, vae)
    streamed = torch.cat([chunk.frames for chunk in engine.run(PATH, 3)])
    whole = vae.decode(engine.state().latents)
    want = (whole[0].permute(1, 2, 3, 0).clamp(-1, 1) * 127.5 + 127.5).round()
    assert (streamed.float() - want).abs().max() <= 1


def test_what_was_foreseen_binds_to_nothing(model: WorldPlayDiT):
    """The poses announced for the next chunk may come or not: what is remembered follows those that came."""
    announced, other = PATH, Trajectory.from_tokens("s-3, left-10, a-8, right-6")
    straight, turned, plain = (started(model) for _ in range(3))
    for i in range(7):
        straight.step(PATH.chunk(i), following=announced.chunk_after(i))
        turned.step(PATH.chunk(i), following=other.chunk(i))
        plain.step(PATH.chunk(i))
    assert straight.state().memory_frames == turned.state().memory_frames == plain.state().memory_frames
    assert torch.equal(straight.state().latents, plain.state().latents)
    assert torch.equal(turned.state().latents, plain.state().latents)


def test_networks_run_while_the_engines_device_is_the_current_one(
    model: WorldPlayDiT, vae: WanVAE, monkeypatch: pytest.MonkeyPatch
):
    """Triton and CUDA graphs go to the current GPU, whichever the tensors are on."""
    inside: list[torch.device] = []
    seen: list[list[torch.device]] = []

    @contextmanager
    def current(device: torch.device) -> Iterator[None]:
        inside.append(device)
        yield
        inside.pop()

    monkeypatch.setattr(engine_module, "current", current)
    for owner, name in ((WorldPlayDiT, "text_keys_values"), (WorldPlayDiT, "forward"), (WanVAE, "decode_stream")):
        inner = getattr(owner, name)

        def watched(self, *args, inner=inner, **kwargs):
            seen.append(list(inside))
            return inner(self, *args, **kwargs)

        monkeypatch.setattr(owner, name, watched)
    started(model, vae).step(PATH.chunk(0))
    assert seen == [[torch.device("cpu")]] * (1 + STEPS + 1)


def test_a_longer_plan_does_not_change_the_beginning(model: WorldPlayDiT):
    short = torch.cat([c.latents for c in started(model).run(PATH, 2)], dim=2)
    long = torch.cat([c.latents for c in started(model).run(PATH)], dim=2)
    assert torch.equal(short, long[:, :, :8])


def test_resumed_and_interleaved_worlds_are_the_same_worlds(model: WorldPlayDiT, vae: WanVAE):
    straight = list(started(model, vae).run(PATH, 5))
    engine = started(model, vae)
    for i in range(2):
        engine.step(PATH.chunk(i))
    kept = engine.state()

    # Another world, of another size and prompt, runs on the same engine in between.
    engine.start(torch.randn(1, 3, 12), latent_size=(6, 4), seed=5)
    engine.step(Trajectory.from_tokens("s-3").chunk(0))

    for _ in range(2):
        engine.resume(kept)
        again = [engine.step(PATH.chunk(i)) for i in range(2, 5)]
        for got, want in zip(again, straight[2:], strict=True):
            assert got.index == want.index
            assert torch.equal(got.latents, want.latents)
            assert torch.equal(got.frames, want.frames)
    assert kept.chunks == 2
    assert kept.video_frames == 29


def test_the_first_frame_is_held(model: WorldPlayDiT):
    first = torch.randn(1, 6, 1, *SIZE)
    chunk = next(started(model, first_frame=first).run(PATH))
    assert torch.equal(chunk.latents[:, :, :1], first)
    without = next(started(model).run(PATH))
    assert not torch.allclose(chunk.latents[:, :, 1:], without.latents[:, :, 1:], atol=1e-3)


@pytest.mark.parametrize("changed", ["seed", "text", "path"])
def test_every_input_changes_the_world(model: WorldPlayDiT, changed: str):
    base = torch.cat([c.latents for c in started(model).run(PATH, 2)], dim=2)
    engine = started(model, seed=1 if changed == "seed" else 0, text=TEXT + 1 if changed == "text" else TEXT)
    path = Trajectory.from_tokens("left-7") if changed == "path" else PATH
    other = torch.cat([c.latents for c in engine.run(path, 2)], dim=2)
    assert not torch.allclose(base, other, atol=1e-3)


def test_explicit_noise_replaces_the_seed(model: WorldPlayDiT):
    noise = chunk_noise(3, 0, (1, 6, 4, *SIZE))
    given = started(model, seed=99).step(PATH.chunk(0), noise=noise)
    assert torch.equal(given.latents, started(model, seed=3).step(PATH.chunk(0)).latents)


def test_progress_is_told_and_an_interrupt_leaves_the_world_as_it_was(model: WorldPlayDiT):
    class StopHereError(Exception):
        pass

    seen: list[Progress] = []

    def stop_in_chunk_1(progress: Progress) -> None:
        seen.append(progress)
        if progress == (1, 2):
            raise StopHereError

    engine = started(model)
    with pytest.raises(StopHereError):
        list(engine.run(PATH, on_progress=stop_in_chunk_1))
    assert seen == [*[(0, step) for step in range(STEPS + 1)], (1, 0), (1, 1), (1, 2)]
    assert engine.state().chunks == 1
    assert torch.equal(engine.step(PATH.chunk(1)).latents, list(started(model).run(PATH, 2))[1].latents)


def test_a_state_is_not_changed_by_later_steps(model: WorldPlayDiT, vae: WanVAE):
    engine = started(model, vae)
    engine.step(PATH.chunk(0))
    kept = engine.state()
    copies = [tensor.clone() for tensor in kept.decoder_cache], kept.latents.clone()
    engine.step(PATH.chunk(1))
    assert all(torch.equal(a, b) for a, b in zip(copies[0], kept.decoder_cache, strict=True))
    assert torch.equal(copies[1], kept.latents)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": torch.zeros(1, 5, 11), "latent_size": SIZE}, r"shape \[1, tokens, 12\]"),
        ({"text": TEXT}, "latent_size"),
        ({"text": TEXT, "latent_size": (5, 6)}, "even"),
        ({"text": TEXT, "latent_size": SIZE, "seed": -1}, "seed"),
        ({"text": TEXT, "first_frame": torch.zeros(1, 7, 1, 4, 6)}, r"\[1, 6, 1, h, w\]"),
        ({"text": TEXT, "first_frame": torch.zeros(1, 6, 1, 4, 8), "latent_size": SIZE}, "4x8"),
    ],
)
def test_wrong_input_is_refused_where_it_enters(model: WorldPlayDiT, arguments: dict, message: str):
    with pytest.raises(InputError, match=message):
        RolloutEngine(model, points=POINTS).start(**arguments)


def test_a_path_that_is_too_short_names_both_counts(model: WorldPlayDiT):
    with pytest.raises(InputError, match=r"13.*5|5.*13"):
        list(started(model).run(Trajectory.from_tokens("w-12"), 5))


def test_a_chunk_takes_four_poses(model: WorldPlayDiT):
    short = Trajectory.from_tokens("w-2")
    with pytest.raises(InputError, match="exactly 4"):
        started(model).step(short)
    with pytest.raises(InputError, match="exactly 4"):
        started(model).step(PATH.chunk(0), following=short)


def test_bfloat16_stays_close_to_float32(model: WorldPlayDiT):
    exact = started(model).step(PATH.chunk(0)).latents
    half = randomise(WorldPlayDiT(CONFIG), 0).to(torch.bfloat16)
    engine = RolloutEngine(half, points=POINTS, dtype=torch.bfloat16)
    engine.start(TEXT, latent_size=SIZE)
    got = engine.step(PATH.chunk(0)).latents
    assert got.dtype == torch.float32
    assert (got - exact).norm() / exact.norm() < 0.02


@pytest.mark.parametrize("preset", [TINY, TINY_RANDOM], ids=lambda preset: preset.name)
def test_a_tiny_preset_fits_together(preset):
    assert preset.dit.latent_channels == preset.vae.z_dim
    assert preset.size[0] % 32 == preset.size[1] % 32 == 0


def test_the_tiny_presets_fit_each_other():
    assert TINY.vae.z_dim == TINY_RANDOM.vae.z_dim
    assert TINY.dit.text_dim == TINY_RANDOM.dit.text_dim
    assert TINY.text_tokens == TINY_RANDOM.text_tokens
