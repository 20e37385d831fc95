"""Convolutions in fp8: what is rounded, within which bounds; the kernels equal the plain functions."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from hyworld.config import VAEConfig
from hyworld.errors import InputError
from hyworld.fp8 import FP8, FP8_MAX, to_fp8
from hyworld.vae import CausalVAE, make_vae
from hyworld.vae.fp8_convolution import Fp8Conv3d, factor_for, use_fp8_convolutions
from hyworld.vae.kernels import PLAIN
from hyworld.weights.random import randomise

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CONFIG = VAEConfig(encoder_dim=4, decoder_dim=32, z_dim=4, latents_mean=(0.0,) * 4, latents_std=(1.0,) * 4)


@pytest.fixture(autouse=True)
def _exact_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def fused_fp8():
    pytest.importorskip("triton.tools.tensor_descriptor", reason="Triton 3.4 is not installed")
    from hyworld.vae import fused_fp8

    return fused_fp8


def video(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, device=DEVICE).to(dtype).contiguous(memory_format=torch.channels_last_3d)


def error(got: Tensor, want: Tensor) -> float:
    assert got.shape == want.shape
    return float((got.float() - want.float()).norm() / want.float().norm())


def both(config: VAEConfig = CONFIG) -> tuple[CausalVAE, CausalVAE]:
    """A VAE, and the same with fp8 convolutions."""
    exact = randomise(make_vae(config, device=DEVICE), 0, device=DEVICE).eval()
    rounded = copy.deepcopy(exact)
    use_fp8_convolutions(rounded)
    return exact, rounded


def test_nothing_a_norm_can_give_is_too_large():
    """One channel alone, at the largest gain: its square mean is that of all."""
    gain = torch.tensor([0.5, -3.0, 1.0, 0.1])
    x = torch.zeros(1, 4, 1, 1, 2)
    x[0, 1, 0, 0] = torch.tensor([-1.0, 1e-3])
    factor = factor_for(gain)
    rounded = PLAIN.norm_silu_extend(x, gain, torch.zeros(1, 4, 0, 1, 2).to(FP8), factor=factor)
    assert rounded.dtype == FP8
    assert FP8_MAX * 0.9 < rounded.float().max() <= FP8_MAX
    assert math.isfinite(factor_for(torch.zeros(3)))


@pytest.mark.parametrize("padding", [1, 0])
def test_a_rounded_convolution_is_near_the_exact_one(padding: int):
    exact = torch.nn.Conv3d(32, 48, 3, padding=(0, padding, 1), device=DEVICE)
    x = video(2, 32, 4, 5, 7)
    rounded = Fp8Conv3d(exact.weight, exact.bias, 20.0)
    rounded.padding = exact.padding
    assert rounded.weight.dtype == FP8
    assert 0.005 < error(rounded(to_fp8(x * 20)), exact(x)) < 0.06


def test_the_residual_blocks_of_the_decoder_are_rounded():
    exact, rounded = both()
    names = {name for name, layer in rounded.named_modules() if isinstance(layer, Fp8Conv3d)}
    wide = {
        name
        for name, layer in exact.named_modules()
        if isinstance(layer, torch.nn.Conv3d) and name.startswith("decoder.") and ".residual." in name
    }
    assert names == wide
    latents = torch.randn(1, 4, 3, 2, 3, device=DEVICE)
    with torch.no_grad():
        want, got = exact.decode(latents), rounded.decode(latents)
    assert 1e-4 < error(got, want) < 0.1


def test_narrow_ones_stay_as_they_are():
    exact, rounded = both(VAEConfig(4, 8, 4, latents_mean=(0.0,) * 4, latents_std=(1.0,) * 4))
    kept = 0
    for name, layer in exact.decoder.named_modules():
        if isinstance(layer, torch.nn.Conv3d) and ".residual." in name:
            narrow = layer.in_channels < 32 or layer.out_channels < 32
            assert isinstance(rounded.decoder.get_submodule(name), Fp8Conv3d) != narrow
            kept += narrow
    assert kept


def test_a_stream_of_it_equals_the_whole():
    _, rounded = both()
    latents = torch.randn(1, 4, 3, 2, 3, device=DEVICE)
    with torch.no_grad():
        whole, _ = rounded.decode_stream(latents)
        first, cache = rounded.decode_stream(latents[:, :, :1])
        rest, _ = rounded.decode_stream(latents[:, :, 1:], cache)
    assert {entry.dtype for entry in cache} == {torch.float32, FP8}
    # A sum in another order may fall on the other side of a step of fp8.
    assert error(torch.cat((first, rest), dim=2), whole) < 2e-2


def test_a_cache_of_exact_convolutions_is_refused():
    exact, rounded = both()
    latents = torch.randn(1, 4, 1, 2, 3, device=DEVICE)
    with torch.no_grad():
        for made, used in ((exact, rounded), (rounded, exact)):
            _, cache = made.decode_stream(latents)
            with pytest.raises(InputError, match=r"cache does not belong to this stream \(layer 1 needs .* in fp8"):
                used.decode_stream(latents, cache)


@pytest.mark.parametrize(("dtype", "batch"), [(torch.float32, 2), (torch.bfloat16, 1)])
@pytest.mark.parametrize("frame", [0, 1])
def test_norm(fused_fp8, dtype: torch.dtype, batch: int, frame: int):
    x, past = video(batch, 24, 3, 5, 7, dtype=dtype), video(batch, 24, 2, 5, 7).mul(99).to(FP8)
    gain, bias = torch.randn(2, 24, device=DEVICE, dtype=dtype)
    factor = factor_for(gain)
    for added in (None, bias):
        got = fused_fp8.norm_silu_extend(x, gain, past, added, factor, frame=frame)
        want = PLAIN.norm_silu_extend(x, gain, past, added, frame=frame, factor=factor)
        assert got.dtype == want.dtype == FP8
        rows = slice(frame, frame + 5)
        got, want = got[..., rows, :].float(), want[..., rows, :].float()
        assert torch.equal(got[:, :, :2], want[:, :, :2])
        # Where sums in another order fall on the other side of a step, the next one. Triton's interpreter halves what
        # rounds up to a power of two, and cuts off in bfloat16.
        far = (got - want).abs() > want.abs() * (2**-3 if x.is_cuda else 0.5) + 2**-9
        assert not far.any()
        assert (got != want).float().mean() < (0.01 if x.is_cuda else 0.1)


@pytest.mark.parametrize(("batch", "in_dim", "out_dim", "frames"), [(1, 32, 32, 1), (2, 96, 64, 1), (1, 128, 256, 2)])
def test_convolution(fused_fp8, batch: int, in_dim: int, out_dim: int, frames: int):
    x, past = video(batch, in_dim, frames, 5, 7), video(batch, in_dim, 2, 5, 7).mul(50).to(FP8)
    weight = torch.randn(out_dim, in_dim, 3, 3, 3, device=DEVICE)
    bias, gain = torch.randn(out_dim, device=DEVICE), torch.rand(in_dim, device=DEVICE)
    factor = factor_for(gain)
    conv = Fp8Conv3d(weight, bias, factor)
    framed = fused_fp8.norm_silu_extend(x, gain, past, None, factor)
    want = conv(framed) - bias.view(-1, 1, 1, 1)
    for given in (framed, framed.contiguous(memory_format=torch.channels_last_3d), framed.contiguous()):
        got = fused_fp8.convolve(conv, given)
        assert got.is_contiguous(memory_format=torch.channels_last_3d)
        assert error(got, want) < 2e-3
    # With the rows above and below, which another process may have decoded.
    conv.padding = (0, 0, 1)
    higher = fused_fp8.norm_silu_extend(x, gain, past, None, factor, frame=1)
    assert error(fused_fp8.convolve(conv, higher), want) < 2e-3
    assert error(fused_fp8.convolve(conv, framed), want[..., 1:-1, :]) < 2e-3
    higher[..., 0, :] = framed[..., 2, :]
    assert error(fused_fp8.convolve(conv, higher), conv(higher) - bias.view(-1, 1, 1, 1)) < 2e-3


@pytest.mark.parametrize("summed", [1, 4, 26, 27])
def test_a_sum_in_parts(fused_fp8, summed: int):
    conv = Fp8Conv3d(torch.randn(64, 32, 3, 3, 3, device=DEVICE), torch.zeros(64, device=DEVICE), 20.0)
    x = to_fp8(video(1, 32, 3, 5, 7) * 20)
    got = fused_fp8.convolve(conv, x, fused_fp8.Tiles(128, 64, 32, 1, summed))
    assert error(got, conv(x)) < 2e-3


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE.type != "cuda", reason="no CUDA GPU; Triton's interpreter rounds fp8 otherwise")
def test_the_same_frames_are_decoded(fused_fp8):
    from hyworld.vae import fused

    exact, rounded = both()
    latents = torch.randn(1, 4, 3, 2, 3, device=DEVICE)
    with torch.no_grad():
        want, plain = exact.decode(latents), rounded.decode(latents)
        rounded.kernels = fused.kernels()
        got = rounded.decode(latents)
    # Each rounding is another where a sum fell on the other side of a step; they are as many and as large.
    assert error(got, plain) < error(plain, want)
    assert error(got, want) < 1.1 * error(plain, want)


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE.type != "cuda", reason="no CUDA GPU; Triton's interpreter rounds fp8 otherwise")
@pytest.mark.parametrize(("channels", "frames", "height", "width"), [(1024, 1, 44, 80), (256, 4, 88, 160)])
def test_full_width(fused_fp8, channels: int, frames: int, height: int, width: int):
    """As wide as the released decoder, whose sums have 27,648 terms: the tensor cores add them in few bits."""
    x, past = video(1, channels, frames, height, width, dtype=torch.bfloat16), video(1, channels, 2, height, width)
    gain = torch.rand(channels, device=DEVICE, dtype=torch.bfloat16) + 0.5
    factor = factor_for(gain)
    weight = torch.randn(channels, channels, 3, 3, 3, device=DEVICE)
    conv = Fp8Conv3d(weight, torch.zeros(channels, device=DEVICE, dtype=torch.bfloat16), factor)
    framed = fused_fp8.norm_silu_extend(x, gain, to_fp8(past.mul(9)), None, factor)
    assert error(fused_fp8.convolve(conv, framed), conv(framed)) < 1e-2


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE.type != "cuda", reason="no CUDA GPU; Triton's interpreter sums in float32")
@pytest.mark.parametrize("channels", [1024, 512, 256])
def test_long_sums_lose_little(fused_fp8, channels: int):
    """Of numbers with a mean: in one sum the tensor cores lose 8, 4 and 1.6 %."""
    x = video(1, channels, 2, 24, 40).add(1).to(torch.bfloat16)
    gain = torch.ones(channels, device=DEVICE, dtype=torch.bfloat16)
    factor = factor_for(gain)
    weight = torch.randn(256, channels, 3, 3, 3, device=DEVICE) + 0.5
    conv = Fp8Conv3d(weight, torch.zeros(256, device=DEVICE, dtype=torch.bfloat16), factor)
    framed = fused_fp8.norm_silu_extend(x, gain, torch.zeros_like(x).to(FP8), None, factor)
    assert error(fused_fp8.convolve(conv, framed), conv(framed)) < 6e-3
