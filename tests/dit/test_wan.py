"""Without cameras the network is Wan's: text-to-video, image-to-video with and without CLIP tokens."""

from __future__ import annotations

import math

import pytest
import torch

from hyworld.config import DiTConfig
from hyworld.dit import Inputs, WanDiT
from hyworld.dit.model import sinusoid
from hyworld.dit.rope import rope_table
from hyworld.errors import InputError
from hyworld.weights import dit_config_from, dit_to_native
from hyworld.weights.random import randomise


@pytest.mark.parametrize(
    ("heads", "head_dim", "size"),
    [(2, 24, (4, 6)), (1, 40, (2, 10)), (3, 6, (6, 2))],  # 40: where WorldPlay cuts the RoPE tables elsewhere
)
@pytest.mark.parametrize(("image_channels", "clip_dim"), [(0, 0), (20, 0), (20, 14)])
def test_equals_diffusers_wan(heads: int, head_dim: int, size: tuple[int, int], image_channels: int, clip_dim: int):
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    theirs = diffusers.WanTransformer3DModel(
        num_attention_heads=heads,
        attention_head_dim=head_dim,
        in_channels=16 + image_channels,
        out_channels=16,
        text_dim=20,
        freq_dim=32,
        ffn_dim=48,
        num_layers=2,
        cross_attn_norm=True,
        image_dim=clip_dim or None,
        added_kv_proj_dim=heads * head_dim if clip_dim else None,
    )
    randomise(theirs, 3)
    state = dit_to_native(theirs.state_dict())
    config = dit_config_from(state, {}, head_dim=head_dim)
    assert (config.cameras, config.image_channels, config.clip_dim) == (False, image_channels, clip_dim)
    ours = WanDiT(config)
    ours.load_state_dict(state)

    latents, text = torch.randn(1, 16 + image_channels, 3, *size), torch.randn(1, 512, 20)
    clip = torch.randn(1, 5, 14)  # diffusers takes all but 512 tokens for the picture's
    t = torch.tensor([937.5])
    with torch.no_grad():
        want = theirs(latents, t, text, encoder_hidden_states_image=clip if clip_dim else None, return_dict=False)[0]
        image_kv = ours.image_keys_values(clip) if clip_dim else None
        got = ours(Inputs(latents, t.expand(1, 3), ours.text_keys_values(text), image_kv=image_kv))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def small() -> WanDiT:
    return randomise(WanDiT(DiTConfig(2, 12, 2, 64, 4, 12, 16, cameras=False, image_channels=5, clip_dim=6)), 0)


@torch.no_grad()
@pytest.mark.parametrize("changed", ["image channels", "clip", "no clip", "one latent's timestep"])
def test_every_input_changes_the_flow(small: WanDiT, changed: str):
    text_kv, clip = small.text_keys_values(torch.randn(1, 5, 12)), torch.randn(1, 3, 6)
    latents, timestep = torch.randn(1, 9, 3, 4, 6), torch.full((1, 3), 700.0)
    given = Inputs(latents, timestep, text_kv, image_kv=small.image_keys_values(clip))
    others = {
        "image channels": given._replace(latents=torch.cat((latents[:, :4], latents[:, 4:] + 1), dim=1)),
        "clip": given._replace(image_kv=small.image_keys_values(clip.flip(-1))),
        "no clip": given._replace(image_kv=None),
        "one latent's timestep": given._replace(timestep=torch.tensor([[0.0, 700.0, 700.0]])),
    }
    flow = small(given)
    assert flow.shape == (1, 4, 3, 4, 6)
    assert not torch.allclose(flow, small(others[changed]), atol=1e-3)


@torch.no_grad()
def test_timesteps_keep_their_digits():
    """In float32 the phase of the fastest component would be off by as much as 3e-5."""
    seen = []
    model = WanDiT(DiTConfig(1, 6, 1, 8, 4, 6, 16, cameras=False))
    model.time_embedding.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    t = 937.4821
    stored = torch.full((1, 1), t)
    model(Inputs(torch.zeros(1, 4, 1, 2, 2), stored, model.text_keys_values(torch.zeros(1, 2, 6))))
    angles = [stored.item() * 10_000 ** (-j / 8) for j in range(8)]
    exact = torch.tensor([*map(math.cos, angles), *map(math.sin, angles)])
    torch.testing.assert_close(seen[0][0, 0], exact, rtol=0, atol=1e-7)
    assert (sinusoid(stored, 16)[0, 0] - exact).abs().max() > 1e-6


def test_wan_splits_a_head_into_whole_pairs_of_each_axis():
    cos, sin = rope_table(40, 3, 2, 2, 3, worldplay=False)
    at = torch.tensor([4.0, 1.0, 2.0], dtype=torch.float64)  # frame, row and column of the last token
    angles = [p / 10_000 ** (2 * j / n) for p, n in zip(at.tolist(), (16, 12, 12), strict=True) for j in range(n // 2)]
    torch.testing.assert_close(cos[1, -1], torch.tensor(angles).cos(), rtol=0, atol=1e-6)
    torch.testing.assert_close(sin[1, -1], torch.tensor(angles).sin(), rtol=0, atol=1e-6)
    assert not torch.equal(cos, rope_table(40, 3, 2, 2, 3)[0])


def test_there_is_nothing_of_the_second_branch():
    config = DiTConfig(2, 12, 2, 64, 4, 12, 16, cameras=False)
    model = WanDiT(config, device="meta")
    assert not [name for name in model.state_dict() if "prope" in name or "action" in name]
    with pytest.raises(AssertionError, match="a network with cameras needs them"):
        model = randomise(WanDiT(DiTConfig(2, 12, 1, 64, 4, 12, 16)), 0)
        model(Inputs(torch.zeros(1, 4, 1, 2, 2), torch.zeros(1, 1), model.text_keys_values(torch.zeros(1, 2, 12))))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"head_dim": 7, "cameras": False}, "head_dim must be even"),
        ({"head_dim": 6}, "divisible by 4"),
        ({"image_channels": -1}, "image_channels must be 0 or a positive whole number"),
        ({"clip_dim": 1.5}, "clip_dim must be 0 or a positive whole number"),
    ],
)
def test_sizes_that_cannot_be(sizes: dict, message: str):
    with pytest.raises(InputError, match=message):
        DiTConfig(**sizes)
    assert DiTConfig(head_dim=6, cameras=False).branches == 1
