"""Our numbers against those of the original programs."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hyworld.config import TinyDecoderConfig, VAEConfig
from hyworld.vae import TinyDecoder, Wan22VAE
from hyworld.weights.remap_vae import vae_to_diffusers

TOLERANCE = 1e-5


def relative_error(ours: Tensor, reference: Tensor) -> float:
    assert ours.shape == reference.shape
    return float((ours - reference).norm() / reference.norm())


def decode_by(decoder, latents: Tensor, size: int) -> Tensor:
    cache, pieces = None, []
    for part in latents.split(size, dim=2):
        frames, cache = decoder.decode_stream(part, cache)
        pieces.append(frames)
    return torch.cat(pieces, dim=2)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_vae_decodes_like_the_original(vae, vae_golden, size):
    assert relative_error(decode_by(vae, vae_golden["latents"], size), vae_golden["decoded"]) < TOLERANCE


def test_vae_decodes_whole_like_the_original(vae, vae_golden):
    assert relative_error(vae.decode(vae_golden["latents"]), vae_golden["decoded"]) < TOLERANCE


def test_vae_encodes_like_the_original(vae, vae_golden):
    video = vae_golden["video"]
    assert relative_error(vae.encode(video), vae_golden["encoded"]) < TOLERANCE
    assert relative_error(vae.encode_stream(video)[0], vae_golden["encoded"]) < TOLERANCE
    assert relative_error(vae.encode(video[:, :, :1]), vae_golden["encoded_first_frame"]) < TOLERANCE


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"temporal_downsample": (True, False, True), "num_res_blocks": 1},
        # Decoder stages that spread 4 and 8 channels over one.
        {"temporal_downsample": (False, True, True), "dim_mult": (1, 1, 4, 4), "num_res_blocks": 1},
        {"temporal_downsample": (True, False, True), "dim_mult": (1, 1, 8, 8), "num_res_blocks": 1},
    ],
)
def test_vae_equals_diffusers(sizes):
    diffusers = pytest.importorskip("diffusers")
    config = VAEConfig(
        encoder_dim=4, decoder_dim=8, z_dim=3, latents_mean=(0.3, -0.2, 0.1), latents_std=(0.7, 1.3, 1.1), **sizes
    )
    ours = Wan22VAE(config)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in ours.named_parameters():
        gain = 1.2 / math.sqrt(math.prod(parameter.shape[1:])) if name.endswith("weight") else 0.05
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * gain + name.endswith("gamma"))
    theirs = diffusers.AutoencoderKLWan(**diffusers_arguments(config))
    theirs.load_state_dict(vae_to_diffusers(ours.state_dict()), strict=True)

    latents = torch.randn(2, 3, 4, 2, 3, generator=generator)
    mean, std = (torch.tensor(values).view(-1, 1, 1, 1) for values in (config.latents_mean, config.latents_std))
    frames = theirs.decode(latents * std + mean).sample
    assert frames.abs().lt(1).float().mean() > 0.5, "a saturated reference would prove nothing"
    assert relative_error(ours.decode_stream(latents)[0].clamp(-1, 1), frames) < TOLERANCE

    video = torch.rand(2, 3, 9, 32, 48, generator=generator) * 2 - 1
    encoded = (theirs.encode(video).latent_dist.mode() - mean) / std
    assert relative_error(ours.encode_stream(video)[0], encoded) < TOLERANCE


def test_released_sizes_equal_those_of_diffusers():
    diffusers = pytest.importorskip("diffusers")
    with torch.device("meta"):
        theirs = diffusers.AutoencoderKLWan(**diffusers_arguments(VAEConfig()))
    ours = vae_to_diffusers(Wan22VAE(VAEConfig(), device="meta").state_dict())
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.state_dict().items()}


def diffusers_arguments(config: VAEConfig) -> dict:
    """Arguments of diffusers' class for a Wan 2.2 VAE, as in its converted checkpoints."""
    return {
        "base_dim": config.encoder_dim,
        "decoder_base_dim": config.decoder_dim,
        "z_dim": config.z_dim,
        "dim_mult": list(config.dim_mult),
        "num_res_blocks": config.num_res_blocks,
        "temperal_downsample": list(config.temporal_downsample),
        "is_residual": True,
        "in_channels": 12,
        "out_channels": 12,
        "patch_size": 2,
        "scale_factor_spatial": 16,
    }


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_tiny_decoder_equals_the_original(tiny, tiny_golden, size):
    assert relative_error(decode_by(tiny, tiny_golden["latents"], size), tiny_golden["frames"]) < TOLERANCE


def test_super_layout_equals_a_plain_per_frame_reference():
    decoder = TinyDecoder(TinyDecoderConfig(layout="super"))
    generator = torch.Generator().manual_seed(7)
    for name, parameter in decoder.named_parameters():
        scale = 0.7 / math.sqrt(math.prod(parameter.shape[1:])) if parameter.ndim > 1 else 0.05
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
        if name == "decoder.22.bias":
            parameter.add_(0.5)
    latents = torch.randn(1, 48, 3, 2, 3, generator=generator)

    reference = super_frames(decoder.state_dict(), latents)
    assert reference.abs().lt(1).float().mean() > 0.5, "a saturated reference would prove nothing"
    assert relative_error(decoder.decode_stream(latents)[0], reference) < TOLERANCE


def super_frames(state: dict[str, Tensor], latents: Tensor) -> Tensor:
    """TAEHV's "super" decoder in its plainest form: depth first, one frame at a time."""
    memory: dict[int, Tensor] = {}

    def conv(name: str, x: Tensor, **options: int) -> Tensor:
        return F.conv2d(x, state[f"decoder.{name}.weight"], state.get(f"decoder.{name}.bias"), **options)

    def memory_block(place: int, x: Tensor) -> Tensor:
        both = torch.cat((x, memory.get(place, torch.zeros_like(x))), dim=1)
        memory[place] = x
        mixed = conv(f"{place}.conv.0", both, padding=3, groups=both.shape[1])
        return conv(f"{place}.conv.3", F.relu(conv(f"{place}.conv.1", mixed))) + x

    def frames_of(x: Tensor, stage: int) -> list[Tensor]:
        if stage == 3:
            return [F.pixel_shuffle(conv("22", x, padding=1), 2).clamp(0, 1)]
        for i in range(3):
            x = memory_block(1 + 7 * stage + i, x)
        x = F.pixel_shuffle(F.relu(conv(f"{4 + 7 * stage}", x, padding=1)), 2)
        grown = conv(f"{7 + 7 * stage}.conv", x).chunk((1, 2, 2)[stage], dim=1)
        return [frame for part in grown for frame in frames_of(part, stage + 1)]

    frames = [frame for latent in latents.unbind(2) for frame in frames_of(conv("0", latent), 0)]
    return 2 * torch.stack(frames[3:], dim=2) - 1
