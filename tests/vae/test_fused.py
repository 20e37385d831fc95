"""The fused kernels of the decoder equal the plain ones."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from hyworld.config import VAEConfig
from hyworld.vae import WanVAE
from hyworld.vae.kernels import PLAIN, fused, norm_silu_extend
from hyworld.weights.random import randomise

CONFIG = VAEConfig(encoder_dim=4, decoder_dim=32, z_dim=4, latents_mean=(0.0,) * 4, latents_std=(1.0,) * 4)


def test_the_norm_is_that_of_the_original():
    """F.normalize times the root of the width, as in Wan 2.2's RMS_norm; zeros stay zeros."""
    x, gain, past = torch.randn(1, 6, 3, 4, 5), torch.randn(6), torch.randn(1, 6, 2, 4, 5)
    x[:, :, 1, 2] = 0
    normed = F.normalize(x, dim=1) * 6**0.5 * gain.view(1, -1, 1, 1, 1)
    got = norm_silu_extend(x, gain, past)
    torch.testing.assert_close(got, torch.cat((past, F.silu(normed)), dim=2), rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_fused_kernels_decode_the_same_frames(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    vae = randomise(WanVAE(CONFIG, device="cuda"), 0, device="cuda")
    latents = torch.randn(1, 4, 5, 4, 6, device="cuda")
    with torch.no_grad():
        plain = vae.decode(latents)
        vae.kernels = fused()
        assert vae.kernels is not PLAIN
        torch.testing.assert_close(vae.decode(latents), plain, rtol=1e-3, atol=1e-3)


def looks_channels_last(x: torch.Tensor) -> bool:
    """torch's own rule for choosing a convolution's layout: strides in order, those of axes of size 1 included."""
    least = 0
    for axis in (1, *range(x.ndim - 1, 1, -1), 0):
        if x.shape[axis] == 0 or x.stride(axis) < least:
            return False
        least = x.stride(axis) * max(1, x.shape[axis])
    return True


def test_the_decoder_stays_channels_last():
    """A single layer that falls back to channels-first makes every convolution after it convert its input.

    Convolutions on a CPU give channels-first whatever they get; here they are made to answer like CUDA's.
    """
    vae = randomise(WanVAE(CONFIG), 0)
    seen: list[tuple[str, bool]] = []

    def answer_like_cuda(name: str, module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
        seen.append((name, looks_channels_last(inputs[0])))
        layout = torch.channels_last_3d if output.ndim == 5 else torch.channels_last
        return output.contiguous(memory_format=layout) if seen[-1][1] else output.contiguous()

    for name, module in vae.decoder.named_modules():
        if isinstance(module, torch.nn.Conv3d | torch.nn.Conv2d):
            module.register_forward_hook(partial(answer_like_cuda, name))
    with torch.no_grad():
        _, cache = vae.decode_stream(torch.randn(1, 4, 1, 4, 6))
        _, cache = vae.decode_stream(torch.randn(1, 4, 1, 4, 6), cache)
        vae.decode_stream(torch.randn(1, 4, 2, 4, 6), cache)
    assert len(seen) > 100
    assert [name for name, channels_last in seen if not channels_last] == []
