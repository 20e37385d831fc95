"""The tiny decoder's training: the loss falls, only what it can know is judged, a run is resumed, the file loads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from hyworld import builtin
from hyworld.config import TINY, TinyDecoderConfig, frames_in
from hyworld.vae import Wan22VAE
from hyworld.weights import load_tiny_decoder
from training.tiny_world import decoder as program
from training.tiny_world import evaluate, pool
from training.tiny_world.decoder import CLIP, WARM_UP, FramePool, fresh_decoder, loss_of
from training.tiny_world.optimise import Optimiser

CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(
    builtin.preset("tiny") is not TINY, reason="the trained weights are not in hyworld/tiny_world"
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (program, pool, evaluate):
        monkeypatch.setattr(module, "SIZE", (32, 64))
    monkeypatch.setattr(program, "LATENT_SIZE", (2, 4))
    monkeypatch.setattr(builtin, "DECODER_SIZES", TinyDecoderConfig(24, "small", (16, 16, 8, 8), (1, 1, 1)))


@pytest.fixture(scope="module")
def vae() -> Wan22VAE:
    return builtin.vae(TINY)


def a_pool() -> FramePool:
    """Two walks of one grey each, whose latents say which."""
    walks = FramePool(2, latents=20, device=CPU)
    greys = torch.tensor([60, 190], dtype=torch.uint8)[:, None, None, None, None]
    latents = torch.tensor([-1.0, 1.0])[:, None, None, None, None]
    walks.add(latents.expand(2, 24, 20, 2, 4), greys.expand(2, 3, frames_in(20), 32, 64))
    return walks


@pytest.mark.parametrize("begin", [0, 5])
def test_it_learns(vae: Wan22VAE, begin: int) -> None:
    decoder, walks, generator = fresh_decoder(0, CPU, torch.float32), a_pool(), torch.Generator().manual_seed(0)
    optimiser = Optimiser(decoder, lr=5e-3, warm_up=5)
    losses = []
    for _ in range(18):
        loss, _ = loss_of(decoder, vae, *walks.draw(2, begin, generator), begins=begin == 0)
        loss.backward()
        optimiser.step(0.0)
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_frames_that_depend_on_what_came_before_the_clip_are_not_judged(vae: Wan22VAE) -> None:
    decoder, generator = fresh_decoder(0, CPU, torch.float32), torch.Generator().manual_seed(0)
    latents, frames = a_pool().draw(1, 5, generator)
    assert frames.shape[2] == 4 * CLIP

    def error(changed: slice) -> Tensor:
        other = frames.clone()
        other[:, :, changed] *= -1
        return loss_of(decoder, vae, latents, other, begins=False)[1]

    as_it_is = error(slice(0, 0))
    assert torch.equal(error(slice(0, 4 * WARM_UP)), as_it_is)
    assert not torch.equal(error(slice(4 * WARM_UP, 4 * WARM_UP + 1)), as_it_is)


def test_a_call_writes_a_decoder_that_loads_and_the_next_goes_on(tmp_path: Path) -> None:
    def call(minutes: float) -> str:
        return program.train(
            tmp_path,
            minutes=minutes,
            total=1.0,
            out=tmp_path,
            device=CPU,
            compiled=False,
            batch=1,
            capacity=2,
            first_walks=1,
            fresh_walks=1,
            latents=20,
            report_scenes=1,
        )

    assert "tiny against full" in call(0.0)
    loaded = load_tiny_decoder(tmp_path / builtin.DECODER.name)
    assert loaded.config == builtin.DECODER_SIZES
    first = Optimiser(fresh_decoder(1, CPU, torch.float32), lr=1e-3)
    about = first.restore(tmp_path, program.CHECKPOINT)
    assert about is not None
    assert about["next_seed"] == 2
    for name, tensor in first.averaged().items():
        assert torch.equal(loaded.get_parameter(name), tensor.half())

    call(0.0)
    again = Optimiser(fresh_decoder(1, CPU, torch.float32), lr=1e-3).restore(tmp_path, program.CHECKPOINT)
    assert again is not None
    assert again["next_seed"] == 4
    assert again["minutes"] > about["minutes"]


def test_a_resumed_run_keeps_its_moments_as_its_weights_lie(tmp_path: Path) -> None:
    """On a GPU the fused AdamW refuses other strides; these weights are channels last."""
    decoder = fresh_decoder(0, CPU, torch.float32)
    optimiser = Optimiser(decoder, lr=1e-3)
    decoder.decode_unbounded(torch.randn(1, 24, 1, 2, 4))[0].mean().backward()
    optimiser.step(0.0)
    optimiser.save(tmp_path, "run")
    again = Optimiser(fresh_decoder(0, CPU, torch.float32), lr=1e-3)
    assert again.restore(tmp_path, "run") is not None
    for weights in again.master:
        assert again.adam.state[weights]["exp_avg_sq"].stride() == weights.stride()
