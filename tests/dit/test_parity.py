"""The network equals the original (reference tensors) and, without action and PRoPE, diffusers' Wan."""

from __future__ import annotations

import pytest
import torch

from hyworld.config import DiTConfig
from hyworld.dit import Inputs, KVMemory, WanDiT
from hyworld.verify import REFERENCE
from hyworld.verify.camera import check_prope
from hyworld.verify.network import check_forward
from hyworld.weights import dit_to_native
from hyworld.weights.random import randomise

CPU = torch.device("cpu")


def test_forward_prefill_and_memory_equal_the_original():
    files = REFERENCE / "dit_weights.safetensors", REFERENCE / "dit_forward.safetensors"
    items = list(check_forward(*files, CPU, torch.float32, 1e-5))
    assert len(items) == 6
    assert [item for item in items if not item.passed] == []


def test_prope_equals_the_original():
    items = list(check_prope(REFERENCE / "prope.safetensors", CPU, torch.float32, 1e-5))
    assert len(items) == 4
    assert [item for item in items if not item.passed] == []


def control(frames: int, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    angle = torch.rand(frames, generator=generator)
    viewmats = torch.eye(4).repeat(1, frames, 1, 1)
    viewmats[0, :, 0, 0] = viewmats[0, :, 2, 2] = angle.cos()
    viewmats[0, :, 0, 2], viewmats[0, :, 2, 0] = angle.sin(), -angle.sin()
    viewmats[0, :, :3, 3] = torch.randn(frames, 3, generator=generator)
    intrinsics = torch.diag(torch.tensor([0.5, 0.9, 1.0])).repeat(1, frames, 1, 1)
    return {
        "viewmats": viewmats,
        "intrinsics": intrinsics,
        "action": torch.randint(0, 81, (1, frames), generator=generator),
    }


@pytest.mark.parametrize(("heads", "head_dim", "size"), [(2, 24, (4, 6)), (3, 32, (2, 10)), (1, 128, (6, 2))])
def test_equals_diffusers_wan_when_action_and_prope_are_zero(heads: int, head_dim: int, size: tuple[int, int]):
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    config = DiTConfig(
        num_heads=heads, head_dim=head_dim, num_layers=2, ffn_dim=48, latent_channels=6, text_dim=20, freq_dim=32
    )
    reference = diffusers.WanTransformer3DModel(
        num_attention_heads=heads,
        attention_head_dim=head_dim,
        in_channels=6,
        out_channels=6,
        text_dim=20,
        freq_dim=32,
        ffn_dim=48,
        num_layers=2,
        cross_attn_norm=True,
    )
    randomise(reference, 3)
    ours = randomise(WanDiT(config), 4)
    zero = [p for name, p in ours.named_parameters() if "o_prope" in name or name.startswith("action_embedding.2")]
    for parameter in zero:
        parameter.zero_()
    missing, unexpected = ours.load_state_dict(dit_to_native(reference.state_dict()), strict=False)
    assert not unexpected
    assert all("o_prope" in name or "action_embedding" in name for name in missing)

    latents, text = torch.randn(1, 6, 3, *size), torch.randn(1, 7, 20)
    timestep = torch.tensor([500.0])
    with torch.no_grad():
        want = reference(latents, timestep, text, return_dict=False)[0]
        got = ours(Inputs(latents, timestep.expand(1, 3), **control(3), text_kv=ours.text_keys_values(text)))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_full_size_has_the_released_tensors():
    model = WanDiT(DiTConfig(), device="meta")
    names = set(model.state_dict())
    added = {name for name in names if "o_prope" in name or name.startswith("action_embedding")}
    assert (len(names), len(added)) == (889, 64)
    assert model.blocks[29].self_attn.o_prope.weight.shape == (3072, 3072)
    assert model.patch_embedding.weight.shape == (3072, 48, 1, 2, 2)


@pytest.fixture(scope="module")
def small() -> WanDiT:
    return randomise(WanDiT(DiTConfig(2, 16, 3, 64, 4, 12, 16)), 0)


def test_denoising_with_memory_ignores_what_older_chunks_left_in_the_buffers(small: WanDiT):
    """Fixed buffers are written in place: stale entries behind the current frames must not be attended to."""
    text_kv = small.text_keys_values(torch.randn(1, 5, 12))
    frames, now = torch.randn(1, 4, 4, 4, 6), torch.randn(1, 4, 4, 4, 6)
    timestep = torch.full((1, 4), 700.0)
    outcomes = []
    for poison in (0.0, float("nan")):
        memory = KVMemory(small.config, memory_frames=16, new_frames=4, tokens_per_frame=6)
        for buffer in (*memory._k, *memory._v):
            buffer.fill_(poison)
        small(Inputs(frames, torch.full((1, 4), 14.0), **control(4, 1), text_kv=text_kv, memory=memory, prefill=True))
        outcomes.append(small(Inputs(now, timestep, **control(4, 2), text_kv=text_kv, memory=memory)))
    assert torch.isfinite(outcomes[1]).all()
    assert torch.equal(*outcomes)


def test_memory_changes_the_flow(small: WanDiT):
    text_kv = small.text_keys_values(torch.randn(1, 5, 12))
    now, timestep = torch.randn(1, 4, 4, 4, 6), torch.full((1, 4), 700.0)
    memory = KVMemory(small.config, memory_frames=4, new_frames=4, tokens_per_frame=6)
    alone = small(Inputs(now, timestep, **control(4), text_kv=text_kv, memory=memory))
    small(
        Inputs(
            torch.randn(1, 4, 4, 4, 6),
            torch.full((1, 4), 14.0),
            **control(4, 1),
            text_kv=text_kv,
            memory=memory,
            prefill=True,
        )
    )
    assert memory.frames == 4
    assert not torch.allclose(
        alone, small(Inputs(now, timestep, **control(4), text_kv=text_kv, memory=memory)), atol=1e-3
    )


def test_a_memory_without_frames_equals_no_memory(small: WanDiT):
    text_kv = small.text_keys_values(torch.randn(1, 5, 12))
    now, timestep = torch.randn(1, 4, 4, 4, 6), torch.full((1, 4), 700.0)
    memory = KVMemory(small.config, memory_frames=0, new_frames=4, tokens_per_frame=6)
    with_memory = small(Inputs(now, timestep, **control(4), text_kv=text_kv, memory=memory))
    torch.testing.assert_close(
        with_memory, small(Inputs(now, timestep, **control(4), text_kv=text_kv)), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("moved", ["viewmats", "intrinsics", "action"])
def test_every_control_changes_the_flow(small: WanDiT, moved: str):
    text_kv = small.text_keys_values(torch.randn(1, 5, 12))
    latents, timestep = torch.randn(1, 4, 4, 4, 6), torch.full((1, 4), 700.0)
    given = control(4)
    changed = {**given, moved: given[moved] + (1 if moved == "action" else 0.3 * torch.rand_like(given[moved]))}
    assert not torch.allclose(
        small(Inputs(latents, timestep, **given, text_kv=text_kv)),
        small(Inputs(latents, timestep, **changed, text_kv=text_kv)),
        atol=1e-3,
    )


def test_a_common_rigid_motion_of_all_cameras_changes_nothing(small: WanDiT):
    """PRoPE sees relative cameras alone: moving the whole world leaves the flow as it is."""
    text_kv = small.text_keys_values(torch.randn(1, 5, 12))
    latents, timestep = torch.randn(1, 4, 4, 4, 6), torch.full((1, 4), 700.0)
    given = control(4)
    motion = control(1, seed=9)["viewmats"][:, :1]
    moved = {**given, "viewmats": given["viewmats"] @ motion}
    torch.testing.assert_close(
        small(Inputs(latents, timestep, **moved, text_kv=text_kv)),
        small(Inputs(latents, timestep, **given, text_kv=text_kv)),
        rtol=1e-4,
        atol=1e-5,
    )


def test_every_layer_comes_from_the_injected_operations():
    made: list[str] = []

    class Recording:
        def __getattr__(self, kind: str):
            def make(*args, **kwargs):
                made.append(kind)
                return getattr(torch.nn, kind)(*args, **kwargs)

            return make

    model = WanDiT(DiTConfig(2, 16, 1, 64, 4, 12, 16), operations=Recording())
    own = {"modulation"}
    with_weights = [m for m in model.modules() if any(n not in own for n, _ in m.named_parameters(recurse=False))]
    assert len(made) == len(with_weights)
