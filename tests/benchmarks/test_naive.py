"""The yardstick computes what the engine computes; only then are its times worth comparing with."""

from __future__ import annotations

import pytest
import torch

from benchmarks.naive import DiffusersDecoder, NaiveNetwork
from hyworld.config import DiTConfig, VAEConfig
from hyworld.dit import Inputs, KVMemory, WanDiT
from hyworld.vae import Wan22VAE
from hyworld.weights.random import randomise


def control(frames: int, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    viewmats = torch.eye(4).repeat(1, frames, 1, 1)
    viewmats[0, :, :3, 3] = torch.randn(frames, 3, generator=generator)
    intrinsics = torch.diag(torch.tensor([0.5, 0.9, 1.0])).repeat(1, frames, 1, 1)
    action = torch.randint(0, 81, (1, frames), generator=generator)
    return {"viewmats": viewmats, "intrinsics": intrinsics, "action": action}


@torch.no_grad()
def test_the_naive_network_gives_the_same_flow():
    model = randomise(WanDiT(DiTConfig(2, 16, 3, 64, 4, 12, 16)), 0)
    naive = NaiveNetwork(model, compiled=False)
    text = torch.randn(1, 5, 12)
    text_kv = model.text_keys_values(text)
    old, new = torch.randn(1, 4, 8, 4, 6), torch.randn(1, 4, 4, 4, 6)
    clean, noisy = torch.full((1, 8), 14.0), torch.full((1, 4), 700.0)
    memory = KVMemory(model.config, memory_frames=8, new_frames=4, tokens_per_frame=6)
    model(Inputs(old, clean, **control(8, 1), text_kv=text_kv, memory=memory, prefill=True))
    want = model(Inputs(new, noisy, **control(4, 2), text_kv=text_kv, memory=memory))
    got = naive.denoise(new, noisy, text, control(4, 2), naive.prefill(old, clean, text, control(8, 1)))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_diffusers_decoder_gives_the_same_frames():
    pytest.importorskip("diffusers", reason="diffusers is not installed")
    vae = randomise(Wan22VAE(VAEConfig(encoder_dim=8, decoder_dim=8)), 1)
    latents = torch.randn(1, 48, 4, 2, 4)
    decoder = DiffusersDecoder(vae)
    for _ in range(2):  # a new stream forgets the one before
        first, rest = decoder.decode(latents[:, :, :1], begins=True), decoder.decode(latents[:, :, 1:], begins=False)
        torch.testing.assert_close(torch.cat((first, rest), dim=2), vae.decode(latents), rtol=1e-4, atol=1e-4)
