"""The distilled schedule and the noise of a chunk."""

from __future__ import annotations

import torch

from hyworld.walk import WORLDPLAY
from hyworld.walk.recipe import chunk_noise


def test_steps_are_the_originals_to_the_last_bit():
    """Its sigmas are a float32 tensor: -0.04 is then -0.040000021."""
    sigmas = torch.tensor([1000, 960, 888.8889, 727.2728, 0]) / 1000
    assert [WORLDPLAY.step_size(i) for i in range(WORLDPLAY.steps)] == sigmas.diff().tolist()


def test_noise_depends_on_seed_and_chunk_alone():
    shape = (1, 3, 4, 2, 2)
    assert torch.equal(chunk_noise(7, 2, shape), chunk_noise(7, 2, shape))
    # The last two are the same words to a generator that strings seed and chunk together.
    different = [
        chunk_noise(7, 2, shape),
        chunk_noise(7, 3, shape),
        chunk_noise(8, 2, shape),
        chunk_noise(2, 7, shape),
        chunk_noise(7 + 2**32, 0, shape),
        chunk_noise(7, 1, shape),
    ]
    for i, a in enumerate(different):
        assert not any(torch.equal(a, b) for b in different[i + 1 :])


def test_noise_is_pinned():
    """A seed shared with a workflow must give the same world in every later version."""
    want = torch.tensor([-0.661708, 0.544171, 0.404886, 1.049661])
    torch.testing.assert_close(chunk_noise(0, 0, (4,)), want, rtol=0, atol=1e-4)


def test_noise_is_standard_normal():
    noise = chunk_noise(123, 4, (100_000,))
    assert noise.mean().abs() < 0.02
    assert (noise.std() - 1).abs() < 0.02
