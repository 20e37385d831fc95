"""The fused kernels of the decoder equal the plain ones."""

from __future__ import annotations

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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_the_decoder_stays_channels_last():
    """A single layer that falls back to channels-first makes every convolution after it convert its input."""
    vae = randomise(WanVAE(CONFIG, device="cuda"), 0, device="cuda")
    seen: list[tuple[str, bool]] = []
    for name, module in vae.decoder.named_modules():
        if isinstance(module, torch.nn.Conv3d):
            module.register_forward_pre_hook(
                lambda _, inputs, name=name: seen.append(
                    (name, inputs[0].is_contiguous(memory_format=torch.channels_last_3d))
                )
            )
    with torch.no_grad():
        _, cache = vae.decode_stream(torch.randn(1, 4, 1, 4, 6, device="cuda"))
        _, cache = vae.decode_stream(torch.randn(1, 4, 1, 4, 6, device="cuda"), cache)
        vae.decode_stream(torch.randn(1, 4, 2, 4, 6, device="cuda"), cache)
    assert len(seen) > 60
    assert [name for name, channels_last in seen if not channels_last] == []
