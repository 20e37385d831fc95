"""The decoder's fused functions equal the plain ones: on a GPU, or in Triton's interpreter on a CPU."""

from __future__ import annotations

import importlib
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hyworld.config import VAEConfig, Wan21VAEConfig
from hyworld.vae import make_vae
from hyworld.vae.kernels import PLAIN, Cells, norm_silu_extend
from hyworld.weights.random import randomise

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CONFIG = VAEConfig(encoder_dim=4, decoder_dim=32, z_dim=4, latents_mean=(0.0,) * 4, latents_std=(1.0,) * 4)
WAN21 = Wan21VAEConfig(encoder_dim=4, decoder_dim=24, z_dim=4, latents_mean=(0.0,) * 4, latents_std=(1.0,) * 4)


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("triton", reason="Triton is not installed")
    from hyworld.vae import fused

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return fused.kernels()


def video(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, device=DEVICE).to(dtype).contiguous(memory_format=torch.channels_last_3d)


def close(got: torch.Tensor, want: torch.Tensor) -> None:
    """Equal up to the order of sums and, in bfloat16, rounding: the interpreter cuts numbers off instead."""
    assert got.shape == want.shape
    difference = (got.float() - want.float()).norm() / want.float().norm()
    assert difference < ((3e-3 if want.is_cuda else 1e-2) if want.dtype == torch.bfloat16 else 2e-6)


def test_the_norm_is_that_of_the_original():
    """F.normalize times the root of the width, as in Wan 2.2's RMS_norm; zeros stay zeros."""
    x, gain, past = torch.randn(1, 6, 3, 4, 5), torch.randn(6), torch.randn(1, 6, 2, 4, 5)
    x[:, :, 1, 2] = 0
    normed = F.normalize(x, dim=1) * 6**0.5 * gain.view(1, -1, 1, 1, 1)
    got = norm_silu_extend(x, gain, past)
    torch.testing.assert_close(got, torch.cat((past, F.silu(normed)), dim=2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("batch", [1, 2])
def test_norm_and_sum(fused, dtype: torch.dtype, batch: int):
    x, past = video(batch, 24, 3, 5, 7, dtype=dtype), video(batch, 24, 2, 5, 7, dtype=dtype)
    gain, bias = torch.randn(2, 24, device=DEVICE, dtype=dtype)
    for added in (None, bias):
        for frame in (0, 1):
            got, want = (each.norm_silu_extend(x, gain, past, added, frame=frame) for each in (fused, PLAIN))
            assert got.shape[3] == want.shape[3] == 5 + 2 * frame
            assert got.is_contiguous(memory_format=torch.channels_last_3d)
            close(got[..., frame : frame + 5, :], want[..., frame : frame + 5, :])
        y = torch.randn_like(x)
        want = PLAIN.add(x, added, y, gain)
        close(fused.add(x, added, y.clone(memory_format=torch.preserve_format), gain), want)


@pytest.mark.parametrize(("batch", "dtype"), [(2, torch.float32), (1, torch.bfloat16)])
@pytest.mark.parametrize("skip", [0, 1])
@pytest.mark.parametrize("spread", [None, (1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 2, 2)])
def test_doubling(
    fused,
    spread: tuple[int, int, int] | None,
    skip: int,
    batch: int,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
):
    """Four 2x2 convolutions, interleaved, are one 3x3 convolution of the doubled picture; copies go where they went."""
    conv = nn.Conv2d(8, 12, 3, padding=1, device=DEVICE, dtype=dtype)
    x = video(batch, 8, 6 - skip, 3, 5, dtype=dtype)
    cells = None
    if spread is not None:
        cells = Cells(video(batch, 12 * math.prod(spread), 3, 3, 5, dtype=dtype), 2, spread, skip)
    with torch.no_grad():
        close(fused.double(conv, x, cells), PLAIN.double(conv, x, cells))
        conv.weight.mul_(-2)  # what is kept of the weights is made anew
        close(fused.double(conv, x, cells), PLAIN.double(conv, x, cells))
        monkeypatch.setattr(importlib.import_module("hyworld.vae.fused"), "FEW", 0)
        close(fused.double(conv, x, cells), PLAIN.double(conv, x, cells))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_within_pictures(fused, dtype: torch.dtype):
    q, k, v = (torch.randn(2, 1, 30, 64, device=DEVICE).to(dtype) for _ in range(3))
    want = PLAIN.attend(q.float(), k.float(), v.float())
    for kernels in (PLAIN, fused):
        got = kernels.attend(q, k, v).float()
        assert (got - want).norm() / want.norm() < (5e-3 if dtype == torch.bfloat16 else 2e-6)


def test_weights_lie_as_they_are_read():
    vae = randomise(make_vae(CONFIG), 0)
    before = {name: weight.clone() for name, weight in vae.named_parameters()}
    importlib.import_module("hyworld.vae.fused").lay_out(vae)
    for name, weight in vae.named_parameters():
        assert torch.equal(weight, before[name])
        assert weight.ndim != 5 or weight.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("config", [CONFIG, WAN21], ids=["2.2", "2.1"])
def test_the_same_frames_are_decoded(fused, config: VAEConfig):
    vae = randomise(make_vae(config, device=DEVICE), 0, device=DEVICE)
    latents = torch.randn(1, config.z_dim, 4, 2, 3, device=DEVICE)
    with torch.no_grad():
        plain = vae.decode(latents)
        vae.kernels = fused
        torch.testing.assert_close(vae.decode(latents), plain, rtol=1e-3, atol=1e-3)


def looks_channels_last(x: torch.Tensor) -> bool:
    """torch's own rule for choosing a convolution's layout: strides in order, those of axes of size 1 included."""
    least = 0
    for axis in (1, *range(x.ndim - 1, 1, -1), 0):
        if x.shape[axis] == 0 or x.stride(axis) < least:
            return False
        least = x.stride(axis) * max(1, x.shape[axis])
    return True


@pytest.mark.parametrize("config", [CONFIG, WAN21], ids=["2.2", "2.1"])
def test_the_decoder_stays_channels_last(config: VAEConfig):
    """A single layer that falls back to channels-first makes every convolution after it convert its input.

    Convolutions on a CPU give channels-first whatever they get; here they are made to answer like CUDA's.
    """
    vae = randomise(make_vae(config), 0)
    seen: list[tuple[str, bool]] = []

    def answer_like_cuda(name: str, module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
        seen.append((name, looks_channels_last(inputs[0])))
        layout = torch.channels_last_3d if output.ndim == 5 else torch.channels_last
        return output.contiguous(memory_format=layout) if seen[-1][1] else output.contiguous()

    for name, module in vae.decoder.named_modules():
        if isinstance(module, torch.nn.Conv3d | torch.nn.Conv2d):
            module.register_forward_hook(partial(answer_like_cuda, name))
    with torch.no_grad():
        _, cache = vae.decode_stream(torch.randn(1, config.z_dim, 1, 4, 6))
        _, cache = vae.decode_stream(torch.randn(1, config.z_dim, 1, 4, 6), cache)
        vae.decode_stream(torch.randn(1, config.z_dim, 2, 4, 6), cache)
    assert len(seen) > 100
    assert [name for name, channels_last in seen if not channels_last] == []


def test_weights_of_a_host_that_count_no_changes(fused):
    """ComfyUI loads weights in inference mode."""
    with torch.inference_mode():
        conv = nn.Conv2d(16, 16, 3, padding=1, device=DEVICE)
    x = video(1, 16, 2, 6, 6)
    with torch.no_grad():
        close(fused.double(conv, x, None), PLAIN.double(conv, x, None))
