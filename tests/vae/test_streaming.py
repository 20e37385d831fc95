"""Streaming: any split equals the whole, caches are values, and what does not fit is refused."""

from __future__ import annotations

import copy
from functools import cache
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from hyworld.config import TinyDecoderConfig, VAEConfig, Wan21VAEConfig
from hyworld.errors import InputError
from hyworld.vae import TinyDecoder, Wan21VAE, Wan22VAE, to_uint8

LATENTS = 7

cuts = st.sets(st.integers(1, LATENTS - 1)).map(lambda inner: [0, *sorted(inner), LATENTS])
few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def assert_same(ours, reference):
    """Equal up to the order of summation in float32, overall and in the worst pixel."""
    assert ours.shape == reference.shape
    assert (ours - reference).norm() <= 1e-5 * reference.norm()
    assert (ours - reference).abs().max() <= 1e-4


def latents_for(decoder, frames: int = LATENTS, seed: int = 0, batch: int = 1):
    shape = (batch, decoder.latent_channels, frames, 2, 3)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@cache
def decoded_at_once(decoder):
    return decoder.decode(latents_for(decoder))


@few
@given(cuts=cuts)
def test_every_split_decodes_to_the_same_frames(decoder, cuts):
    latents = latents_for(decoder)
    cache, pieces = None, []
    for start, stop in pairwise(cuts):
        frames, cache = decoder.decode_stream(latents[:, :, start:stop], cache)
        height, width = (side * decoder.spatial_stride for side in (2, 3))
        assert frames.shape == (1, 3, 4 * (stop - start) - 3 * (start == 0), height, width)
        pieces.append(frames)
    assert_same(torch.cat(pieces, dim=2), decoded_at_once(decoder))


@few
@given(cuts=cuts)
def test_every_split_encodes_to_the_same_latents(either_vae, cuts):
    vae = either_vae
    video = torch.rand(1, 3, 4 * LATENTS - 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    frame = [max(0, 4 * cut - 3) for cut in cuts]
    cache, pieces = None, []
    for start, stop in pairwise(frame):
        latents, cache = vae.encode_stream(video[:, :, start:stop], cache)
        pieces.append(latents)
    assert_same(torch.cat(pieces, dim=2), vae.encode(video))


def test_an_old_cache_gives_the_same_frames_again(decoder):
    latents, other = latents_for(decoder), latents_for(decoder, seed=1)
    given_latents = latents.clone()
    _, snapshot = decoder.decode_stream(latents[:, :, :3])
    kept = [entry.clone() for entry in snapshot]

    first, went_on = decoder.decode_stream(latents[:, :, 3:5], snapshot)
    branch, _ = decoder.decode_stream(other[:, :, 3:5], snapshot)
    decoder.decode_stream(latents[:, :, 5:7], went_on)
    again, _ = decoder.decode_stream(latents[:, :, 3:5], snapshot)

    assert torch.equal(first, again)
    assert not torch.equal(first, branch)
    assert all(torch.equal(entry, before) for entry, before in zip(snapshot, kept, strict=True))
    assert torch.equal(latents, given_latents)


def test_an_old_encoder_cache_gives_the_same_latents_again(either_vae):
    vae = either_vae
    video = torch.rand(1, 3, 9, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    _, snapshot = vae.encode_stream(video[:, :, :1])
    first, went_on = vae.encode_stream(video[:, :, 1:5], snapshot)
    vae.encode_stream(video[:, :, 5:], went_on)
    again, _ = vae.encode_stream(video[:, :, 1:5], snapshot)
    assert torch.equal(first, again)


def test_cache_has_one_shape_and_holds_no_activations(decoder):
    latents = latents_for(decoder)
    _, cache = decoder.decode_stream(latents[:, :, :1])
    for start, stop in ((1, 2), (2, 4), (4, 7)):
        _, later = decoder.decode_stream(latents[:, :, start:stop], cache)
        assert [entry.shape for entry in later] == [entry.shape for entry in cache]
        assert all(entry.untyped_storage().nbytes() == entry.numel() * entry.element_size() for entry in later)
        cache = later


def test_first_frame_is_no_history_to_the_upsampling(either_vae):
    """After one latent the temporal upsampling convolutions have seen nothing: their two caches are zero."""
    vae = either_vae
    _, cache = vae.decode_stream(latents_for(vae, frames=1))
    assert sum(not entry.any() for entry in cache) == 2
    _, cache = vae.decode_stream(latents_for(vae, frames=2))
    assert all(entry.any() for entry in cache)


def test_batch_entries_do_not_mix(decoder):
    latents = latents_for(decoder, frames=4, batch=2)
    head, cache = decoder.decode_stream(latents[:, :, :2])
    tail, _ = decoder.decode_stream(latents[:, :, 2:], cache)
    each = torch.cat([decoder.decode(one) for one in latents.split(1)])
    assert_same(torch.cat((head, tail), dim=2), each)


def test_half_precision_stays_half_and_close(decoder):
    latents = latents_for(decoder, frames=3)
    half = copy.deepcopy(decoder).to(torch.bfloat16)
    frames, cache = half.decode_stream(latents.to(torch.bfloat16))
    assert frames.dtype == torch.bfloat16
    assert {entry.dtype for entry in cache} == {torch.bfloat16}
    exact = decoder.decode(latents)
    assert (frames.float() - exact).norm() / exact.norm() < 0.05


def test_encoder_runs_in_half_precision(either_vae):
    vae = either_vae
    video = torch.rand(1, 3, 5, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    latents = copy.deepcopy(vae).to(torch.bfloat16).encode(video.to(torch.bfloat16))
    exact = vae.encode(video)
    assert latents.dtype == torch.float32
    assert (latents - exact).norm() / exact.norm() < 0.05


@pytest.mark.parametrize(
    "build",
    [
        lambda operations: Wan22VAE(VAEConfig(encoder_dim=8, decoder_dim=8), operations=operations, device="meta"),
        lambda operations: Wan21VAE(Wan21VAEConfig(8, 8), operations=operations, device="meta"),
        lambda operations: TinyDecoder(TinyDecoderConfig(), operations=operations, device="meta"),
        lambda operations: TinyDecoder(TinyDecoderConfig(layout="super"), operations=operations, device="meta"),
        lambda operations: TinyDecoder(TinyDecoderConfig(layout="small"), operations=operations, device="meta"),
    ],
)
def test_every_convolution_comes_from_the_host(build):
    class HostConv2d(nn.Conv2d):
        pass

    class HostConv3d(nn.Conv3d):
        pass

    model = build(SimpleNamespace(Conv2d=HostConv2d, Conv3d=HostConv3d))
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Conv3d)]
    assert convolutions
    assert all(isinstance(module, HostConv2d | HostConv3d) for module in convolutions)


def test_latents_of_another_model_are_refused(decoder):
    with pytest.raises(InputError, match=rf"\[batch, {decoder.latent_channels}, time.*got \[1, 16, 1, 2, 3\]"):
        decoder.decode_stream(torch.zeros(1, 16, 1, 2, 3))
    with pytest.raises(InputError, match="must have the shape"):
        decoder.decode(torch.zeros(1, decoder.latent_channels, 0, 2, 3))


def test_a_cache_of_another_stream_is_refused(vae, tiny):
    _, cache = vae.decode_stream(latents_for(vae, frames=1))
    with pytest.raises(InputError, match="cache does not belong to this stream"):
        vae.decode_stream(torch.zeros(1, 6, 1, 4, 4), cache)
    with pytest.raises(InputError, match="cache does not belong to this stream"):
        tiny.decode_stream(latents_for(tiny, frames=1), cache)
    with pytest.raises(InputError, match="cache does not belong to this stream"):
        vae.decode_stream(latents_for(vae, frames=1), cache[:-1])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 4, 32, 32), "begins with 1, 5, 9"),
        ((1, 3, 0, 32, 32), "begins with 1, 5, 9"),
        ((1, 3, 1, 40, 32), "multiples of 16"),
        ((1, 4, 1, 32, 32), r"shape \[batch, 3, frames"),
        ((3, 1, 32, 32), r"shape \[batch, 3, frames"),
    ],
)
def test_videos_that_do_not_fit_are_refused(vae, shape, message):
    for encode in (vae.encode, vae.encode_stream):
        with pytest.raises(InputError, match=message):
            encode(torch.zeros(shape))


def test_sides_are_multiples_of_the_stride(wan21):
    assert wan21.encode(torch.zeros(1, 3, 1, 40, 32)).shape == (1, 3, 1, 5, 4)
    with pytest.raises(InputError, match=r"multiples of 8, got \[1, 3, 1, 36, 32\]"):
        wan21.encode(torch.zeros(1, 3, 1, 36, 32))


@pytest.mark.parametrize("frames", [0, 1, 5])
def test_a_running_encoder_takes_four_frames_per_latent(vae, frames):
    _, cache = vae.encode_stream(torch.zeros(1, 3, 1, 32, 32))
    with pytest.raises(InputError, match=f"goes on with 4, 8, 12.*got {frames}"):
        vae.encode_stream(torch.zeros(1, 3, frames, 32, 32), cache)


@pytest.mark.parametrize("dim_mult", [(1, 2, 4, 6), (1, 3, 6, 6)])
def test_channel_factors_that_do_not_fit_are_refused(dim_mult):
    with pytest.raises(InputError, match="dim_mult does not fit"):
        Wan22VAE(VAEConfig(encoder_dim=8, decoder_dim=8, dim_mult=dim_mult), device="meta")


def test_to_uint8_rounds_and_clamps():
    frames = torch.tensor([-3.0, -1.0, 0.0, 1 / 127.5, 1.0, 1.5]).view(1, 1, 6, 1, 1).expand(1, 3, 6, 2, 4)
    pictures = to_uint8(frames)
    assert pictures.shape == (6, 2, 4, 3)
    assert pictures.dtype == torch.uint8
    assert pictures[:, 0, 0, 0].tolist() == [0, 0, 128, 128, 255, 255]


def test_to_uint8_puts_colours_last_and_takes_half_precision():
    frames = torch.tensor([-1.0, 0.5, 1.0], dtype=torch.bfloat16).view(1, 3, 1, 1, 1).expand(1, 3, 1, 2, 2)
    assert to_uint8(frames)[0, 1, 1].tolist() == [0, 191, 255]
    with pytest.raises(ValueError, match=r"\[1, 3, f, H, W\]"):
        to_uint8(torch.zeros(2, 3, 1, 2, 2))
