"""The network's Triton kernels equal the plain functions: on a GPU, or in Triton's interpreter on a CPU."""

from __future__ import annotations

import importlib
from dataclasses import replace

import pytest
import torch
from torch import nn

from hyworld.config import DiTConfig
from hyworld.dit import PLAIN, Inputs, KVMemory, RollingMemory, WanDiT
from hyworld.dit.rope import rope_table
from hyworld.fp8 import quantise_rows, use_fp8
from hyworld.gpu import triton_missing
from hyworld.weights.random import randomise

pytest.importorskip("triton", reason="Triton is not installed")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CONFIG = DiTConfig(num_heads=3, head_dim=32, num_layers=2, ffn_dim=256, latent_channels=4, text_dim=16, freq_dim=32)
FUSED = importlib.import_module("hyworld.dit.fused").kernels()


def rows(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, device=DEVICE).to(dtype)


def close(got: torch.Tensor, want: torch.Tensor) -> None:
    """Equal up to the order of sums and, in bfloat16, rounding: the interpreter cuts numbers off instead."""
    assert got.shape == want.shape
    difference = (got.float() - want.float()).norm() / want.float().norm()
    assert difference < ((3e-3 if want.is_cuda else 1e-2) if want.dtype == torch.bfloat16 else 2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 3, 5, 96), (2, 2, 3, 64)])
def test_norm_and_gated_add(shape: tuple[int, ...], dtype: torch.dtype):
    B, frames, _, width = shape
    x, update = rows(*shape, dtype=dtype) + 3, rows(*shape, dtype=dtype)
    shift, scale, gate = rows(B, frames, 6, width).unsqueeze(2).unbind(dim=3)[1:4]
    close(FUSED.modulated_norm(x, shift, scale, 1e-6), PLAIN.modulated_norm(x, shift, scale, 1e-6))
    close(FUSED.gated_add(x, update, gate), PLAIN.gated_add(x, update, gate))
    norm = nn.LayerNorm(width, eps=1e-6, device=DEVICE, dtype=dtype)
    for parameter in norm.parameters():
        parameter.data.uniform_(0.5, 2)
    for updates in ((update,), (update, rows(*shape, dtype=dtype))):
        got, want = (kernels.gated_add_norm(x, updates, gate, norm) for kernels in (FUSED, PLAIN))
        for one, other in zip(got, want, strict=True):
            close(one, other)
    got, want = (kernels.add_modulated_norm(x, update, shift, scale, 1e-6) for kernels in (FUSED, PLAIN))
    for one, other in zip(got, want, strict=True):
        close(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_rounded_where_it_is_made(dtype: torch.dtype):
    """It is what rounding its rows afterwards gives."""
    heads, matrix = rows(1, 3, 10, 32, dtype=dtype), rows(1, 2, 4, 4)
    x, update, norm = rows(1, 2, 5, 96, dtype=dtype) + 3, rows(1, 2, 5, 96, dtype=dtype), nn.LayerNorm(96).to(DEVICE)
    norm.to(dtype)
    shift, scale, gate = rows(1, 2, 6, 96).unsqueeze(2).unbind(dim=3)[1:4]
    for function, arguments in (
        (FUSED.modulated_norm, (x, shift, scale, 1e-6)),
        (FUSED.gated_add_norm, (x, (update, x), gate, norm)),
        (FUSED.add_modulated_norm, (x, update, shift, scale, 1e-6)),
        (FUSED.project, (heads, matrix)),
    ):
        exact, got = function(*arguments), function(*arguments, to_fp8=True)
        if function in (FUSED.gated_add_norm, FUSED.add_modulated_norm):
            (_, exact), (_, got) = exact, got
        want, want_scale = quantise_rows(exact.flatten(0, 2))
        assert got.shape == x.shape
        close(got.scale, want_scale)
        back = got.rows.flatten(0, 2).float() * got.scale
        assert (back - want.float() * want_scale).norm() / back.norm() < (0.005 if DEVICE.type == "cuda" else 0.1)


@pytest.mark.parametrize("camera_width", [0, 48])
def test_nothing_that_a_kernel_of_ours_makes_is_rounded_by_a_layer(camera_width: int):
    """Left for the layers of a block are the outputs of both attentions, which are made head by head."""
    rounded: list[int] = []

    def quantise(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rounded.append(x.shape[1])
        return quantise_rows(x)

    model = randomise(WanDiT(replace(CONFIG, camera_width=camera_width), device=DEVICE), 0, device=DEVICE)
    use_fp8(model, quantise)
    model.kernels = FUSED
    with torch.no_grad():
        text_kv = model.text_keys_values(rows(1, 5, 16))
        rounded.clear()
        model(Inputs(rows(1, 4, 4, 4, 6), torch.full((1, 4), 700.0, device=DEVICE), text_kv, None, **control(4)))
    assert rounded == [96, 96] * CONFIG.num_layers


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("batch", "heads", "head_dim"), [(1, 3, 32), (2, 4, 16)])
def test_branches_and_projection(batch: int, heads: int, head_dim: int, dtype: torch.dtype):
    frames, tokens, width = 3, 6, heads * head_dim
    x, matrix = rows(batch, frames, tokens, width, dtype=dtype), rows(batch, frames, 4, 4)
    cos, sin = (table.to(DEVICE)[2:] for table in rope_table(head_dim, 0, frames + 2, 2, 3))
    norm = nn.RMSNorm(width, eps=1e-6, device=DEVICE, dtype=dtype)
    norm.weight.data.uniform_(0.5, 2)
    for gain, rope in ((norm, (cos, sin)), (None, None)):
        want = PLAIN.branches(x, heads, gain, rope, matrix)
        close(FUSED.branches(x, heads, gain, rope, matrix), want)
        buffer = torch.full((2 * batch, heads, 40, head_dim), float("nan"), device=DEVICE, dtype=dtype)
        into = buffer[:, :, 5 : 5 + frames * tokens]
        FUSED.branches(x, heads, gain, rope, matrix, into)
        close(into, want)
        assert buffer.isnan().sum() == buffer.numel() - want.numel(), "nothing beside the slice may be written"
        close(FUSED.project(want[batch:], matrix), PLAIN.project(want[batch:], matrix))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("batch", "heads", "head_dim"), [(1, 3, 32), (2, 4, 6)])
def test_the_only_branch_of_a_network_without_cameras(batch: int, heads: int, head_dim: int, dtype: torch.dtype):
    frames, tokens, width = 3, 6, heads * head_dim
    x = rows(batch, frames, tokens, 3 * width, dtype=dtype)[..., width : 2 * width]
    rope = tuple(table.to(DEVICE) for table in rope_table(head_dim, 5, frames, 2, 3, worldplay=False))
    norm = nn.RMSNorm(width, eps=1e-6, device=DEVICE, dtype=dtype)
    norm.weight.data.uniform_(0.5, 2)
    for gain, tables in ((norm, rope), (None, rope), (norm, None), (None, None)):
        want = PLAIN.branches(x, heads, gain, tables, None)
        assert want.shape == (batch, heads, frames * tokens, head_dim)
        close(FUSED.branches(x, heads, gain, tables, None), want)
        buffer = torch.full((batch, heads, 40, head_dim), float("nan"), device=DEVICE, dtype=dtype)
        into = buffer[:, :, 5 : 5 + frames * tokens]
        FUSED.branches(x, heads, gain, tables, None, into)
        close(into, want)
        assert buffer.isnan().sum() == buffer.numel() - want.numel(), "nothing beside the slice may be written"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("batch", "heads", "head_dim"), [(1, 3, 12), (2, 4, 8)])
def test_heads_of_a_camera_branch(batch: int, heads: int, head_dim: int, dtype: torch.dtype):
    frames, width = 3, heads * head_dim
    x, matrix = rows(batch, frames, 6, 3 * width, dtype=dtype)[..., width : 2 * width], rows(batch, frames, 4, 4)
    norm = nn.RMSNorm(width, eps=1e-6, device=DEVICE, dtype=dtype)
    norm.weight.data.uniform_(0.5, 2)
    for gain in (norm, None):
        want = PLAIN.camera_heads(x, heads, gain, matrix)
        assert want.shape == (batch, heads, frames * 6, head_dim)
        close(FUSED.camera_heads(x, heads, gain, matrix), want)


@pytest.mark.parametrize("batch", [1, 2])
def test_branches_of_slices(batch: int):
    """A third of q, k and v side by side, the first frames of a longer memory, and both at once."""
    frames, width = 3, 64
    matrix = rows(batch, frames, 4, 4)
    wide, long = rows(batch, frames, 6, 3 * width), rows(batch, frames + 2, 6, width)
    both = rows(batch, frames + 2, 6, 3 * width)
    for x in (wide.chunk(3, dim=-1)[1], long[:, :frames], both[:, :frames, :, width : 2 * width]):
        close(FUSED.branches(x, 4, None, None, matrix), PLAIN.branches(x, 4, None, None, matrix))


def test_a_norm_of_another_class_is_asked_itself():
    """A host's layers fetch or patch their weights while they run; their weight alone would be the wrong one."""

    class Patched(nn.RMSNorm):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * 2

    norm, x, matrix = Patched(64, device=DEVICE), rows(1, 2, 3, 64), rows(1, 2, 4, 4)
    close(FUSED.branches(x, 4, norm, None, matrix), PLAIN.branches(x, 4, norm, None, matrix))


def control(frames: int) -> dict[str, torch.Tensor]:
    viewmats = torch.eye(4, device=DEVICE).repeat(1, frames, 1, 1)
    viewmats[0, :, :3, 3] = rows(frames, 3)
    intrinsics = torch.diag(torch.tensor([0.5, 0.9, 1.0], device=DEVICE)).repeat(1, frames, 1, 1)
    return {
        "viewmats": viewmats,
        "intrinsics": intrinsics,
        "action": torch.randint(0, 81, (1, frames), device=DEVICE),
    }


@pytest.mark.parametrize(("frames", "compact"), [(4, False), (8, True)])
def test_forwards_equal_the_plain_ones(frames: int, compact: bool):
    model = randomise(WanDiT(CONFIG, device=DEVICE), 0, device=DEVICE)
    text_kv = model.text_keys_values(rows(1, 5, 16))
    old, new = rows(1, 4, frames, 4, 6), rows(1, 4, 4, 4, 6)
    clean, noisy = torch.full((1, frames), 14.0, device=DEVICE), torch.full((1, 4), 700.0, device=DEVICE)
    before, now = control(frames), control(4)

    def run(compact: bool) -> torch.Tensor:
        memory = KVMemory(CONFIG, memory_frames=8, new_frames=4, tokens_per_frame=6, device=DEVICE, compact=compact)
        model(Inputs(old, clean, **before, text_kv=text_kv, memory=memory, prefill=True))
        flow = model(Inputs(new, noisy, **now, text_kv=text_kv, memory=memory))
        assert flow is not None
        return flow

    with torch.no_grad():
        plain = run(False)
        torch.testing.assert_close(run(compact), plain, rtol=1e-4, atol=1e-5)
        model.kernels = FUSED
        torch.testing.assert_close(run(compact), plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rotated", [False, True])
def test_forwards_with_a_rolling_memory_equal_the_plain_ones(rotated: bool):
    config = replace(CONFIG, cameras=False, image_channels=4, clip_dim=8)
    model = randomise(WanDiT(config, device=DEVICE), 0, device=DEVICE)
    text_kv, image_kv = model.text_keys_values(rows(1, 5, 16)), model.image_keys_values(rows(1, 3, 8))
    chunks, timestep = rows(4, 1, 8, 2, 4, 6), torch.full((1, 2), 700.0, device=DEVICE)

    def run() -> torch.Tensor:
        memory = RollingMemory(config, window=4, sink=1, chunk=2, tokens_per_frame=6, rotated=rotated, device=DEVICE)
        flows = []
        for chunk in chunks:
            memory.begin()
            flows.append(model(Inputs(chunk, timestep, text_kv, memory, image_kv=image_kv)))
            memory.commit()
        return torch.stack(flows)

    with torch.no_grad():
        plain = run()
        model.kernels = FUSED
        torch.testing.assert_close(run(), plain, rtol=1e-3, atol=1e-4)


def test_what_is_missing_is_said():
    assert "not for cpu" in str(triton_missing(torch.device("cpu")))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_kernels_survive_torch_compile():
    """A host's compile node compiles the whole network, our kernels and the writes to the memory included."""
    model = randomise(WanDiT(CONFIG, device=DEVICE), 0, device=DEVICE)
    model.kernels = FUSED
    text_kv, old, new = model.text_keys_values(rows(1, 5, 16)), rows(1, 4, 4, 4, 6), rows(1, 4, 4, 4, 6)
    clean, noisy = torch.full((1, 4), 14.0, device=DEVICE), torch.full((1, 4), 700.0, device=DEVICE)
    before, now = control(4), control(4)

    def run(network) -> torch.Tensor:
        memory = KVMemory(CONFIG, memory_frames=16, new_frames=4, tokens_per_frame=6, device=DEVICE)
        network(Inputs(old, clean, **before, text_kv=text_kv, memory=memory, prefill=True))
        flow = network(Inputs(new, noisy, **now, text_kv=text_kv, memory=memory))
        assert flow is not None
        return flow

    with torch.no_grad():
        torch.testing.assert_close(run(torch.compile(model)), run(model), rtol=1e-3, atol=1e-4)
