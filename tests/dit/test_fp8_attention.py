"""Self-attention in fp8: near the exact one, through every memory; its Triton kernels equal the plain functions."""

from __future__ import annotations

import importlib
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from hyworld.config import DiTConfig
from hyworld.dit import PLAIN, Inputs, KVMemory, RollingMemory, WanDiT, sdpa
from hyworld.dit.fp8_attention import PLAIN_FP8, Factors, attend, camera_factors, fixed_factors, rounded
from hyworld.dit.rope import rope_table
from hyworld.fp8 import FP8, FP8_MAX
from hyworld.weights.random import randomise

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CONFIG = DiTConfig(num_heads=3, head_dim=32, num_layers=2, ffn_dim=256, latent_channels=4, text_dim=16, freq_dim=32)
TOKENS = 6
IN_FP8 = PLAIN._replace(fp8=PLAIN_FP8)


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def relative(got: Tensor, want: Tensor) -> float:
    return float((got.float() - want.float()).norm() / want.float().norm())


def test_the_error_is_that_of_rounding():
    q, k, v = torch.randn(1, 2, 40, 64), torch.randn(1, 2, 300, 64), torch.randn(1, 2, 300, 64)
    factors = fixed_factors(torch.device("cpu"))
    q8, k8, v8 = (rounded(x, factor) for x, factor in zip((q, k, v), factors, strict=True))
    got = attend(q8, k8, v8.transpose(-1, -2), factors, torch.float32)
    assert 0.02 < relative(got, sdpa(q, k, v)) < 0.08


def test_distant_cameras_stay_within_fp8s_range():
    """Fifty units away the matrices enlarge numbers fiftyfold."""
    x = torch.randn(1, 3, 20, 32)
    matrix = torch.eye(4).repeat(1, 2, 1, 1)
    matrix[:, 1, :3, 3] = 50
    seen = PLAIN.branches(x.view(1, 2, 30, 32), 1, None, None, matrix)
    for factors in camera_factors(matrix, matrix):
        kept = rounded(seen, factors)
        assert kept.float().abs().max() < FP8_MAX / 2
        back = kept.float() / factors[:, None, None, None]
        assert relative(back, seen) < 0.04


def controls(frames: int) -> dict[str, Tensor]:
    viewmats = torch.eye(4).repeat(1, frames, 1, 1)
    viewmats[0, :, :3, 3] = torch.randn(frames, 3)
    intrinsics = torch.diag(torch.tensor([0.5, 0.9, 1.0])).repeat(1, frames, 1, 1)
    return {"viewmats": viewmats, "intrinsics": intrinsics, "action": torch.zeros(1, frames, dtype=torch.long)}


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("remembered", [0, 5])
def test_the_network_with_cameras_is_near_the_exact_one(remembered: int, compact: bool):
    latents, clean = torch.randn(1, 4, 4, 4, 6), torch.randn(1, 4, remembered, 4, 6)
    told, text = (controls(remembered), controls(4)), torch.randn(1, 5, 16)

    def flow(*, fp8: bool) -> Tensor:
        model = randomise(WanDiT(CONFIG), 0)
        model.kernels = IN_FP8 if fp8 else PLAIN
        text_kv = model.text_keys_values(text)
        memory = KVMemory(
            CONFIG, memory_frames=8, new_frames=4, tokens_per_frame=TOKENS, fp8=fp8, compact=fp8 and compact
        )
        if remembered:
            model(Inputs(clean, torch.full((1, remembered), 14.0), text_kv, memory, prefill=True, **told[0]))
        first, again = (model(Inputs(latents, torch.full((1, 4), 700.0), text_kv, memory, **told[1])) for _ in range(2))
        assert torch.equal(first, again), "a step writes the same keys and values over the last one's"
        if not remembered:
            alone = model(Inputs(latents, torch.full((1, 4), 700.0), text_kv, **told[1]))
            assert relative(alone, first) < 1e-3
        return first

    assert 1e-4 < relative(flow(fp8=True), flow(fp8=False)) < 0.05


@pytest.mark.parametrize("rotated", [True, False])
def test_a_window_that_rolls_is_near_the_exact_one(rotated: bool):
    config = replace(CONFIG, cameras=False)
    chunks, text = torch.randn(5, 1, 4, 2, 4, 6), torch.randn(1, 5, 16)

    def flows(*, fp8: bool) -> Tensor:
        model = randomise(WanDiT(config), 0)
        model.kernels = IN_FP8 if fp8 else PLAIN
        text_kv = model.text_keys_values(text)
        memory = RollingMemory(config, window=5, sink=1, chunk=2, tokens_per_frame=TOKENS, rotated=rotated, fp8=fp8)
        made = []
        for chunk in chunks:
            memory.begin()
            made.append(model(Inputs(chunk, torch.full((1, 2), 37.0), text_kv, memory)))
            memory.commit()
        if fp8:
            kept = memory._scratch if memory._scratch is not None else (memory._k[0], memory._v[0])
            assert {tensor.dtype for tensor in kept} == {FP8}
        return torch.cat(made)

    errors = [relative(got, want) for got, want in zip(flows(fp8=True), flows(fp8=False), strict=True)]
    assert min(errors) > 1e-4
    assert max(errors) < 0.05


@pytest.mark.parametrize("rotated", [True, False])
def test_bytes_are_those_allocated(rotated: bool):
    config = replace(CONFIG, cameras=False)
    memory = RollingMemory(config, window=5, sink=1, chunk=2, tokens_per_frame=TOKENS, rotated=rotated, fp8=True)
    buffers = (*memory._k, *memory._v, *(memory._scratch or ()))
    expected = RollingMemory.nbytes(
        config, frames=6, tokens_per_frame=TOKENS, dtype=torch.float32, compact=not rotated, fp8=True
    )
    assert sum(buffer.nbytes for buffer in buffers) == expected


def test_a_memory_of_the_other_kind_is_not_written():
    model = randomise(WanDiT(CONFIG), 0)
    model.kernels = IN_FP8
    memory = KVMemory(CONFIG, memory_frames=8, new_frames=4, tokens_per_frame=TOKENS)
    text_kv = model.text_keys_values(torch.randn(1, 5, 16))
    with pytest.raises(AssertionError, match="the attention it serves"):
        model(Inputs(torch.randn(1, 4, 4, 4, 6), torch.zeros(1, 4), text_kv, memory, **controls(4)))


# Triton's interpreter cuts numbers off where a GPU rounds, and loses the carry of a mantissa that is full.
CUT_OFF = 0.03 if DEVICE.type == "cuda" else 0.1


@pytest.fixture(scope="module")
def fused():
    pytest.importorskip("triton", reason="Triton is not installed")
    return importlib.import_module("hyworld.dit.fused_attention")


@pytest.mark.parametrize("cameras", [True, False])
@pytest.mark.parametrize(("batch", "heads", "head_dim", "tokens"), [(1, 3, 32, 48), (2, 2, 24, 35)])
def test_written_queries_keys_and_values(fused, cameras: bool, batch: int, heads: int, head_dim: int, tokens: int):
    width, frames, before = heads * head_dim, 2, 7
    x = torch.randn(batch, frames, tokens, 3 * width, device=DEVICE).to(torch.bfloat16)[..., width : 2 * width]
    matrix = torch.randn(batch, frames, 4, 4, device=DEVICE) if cameras else None
    factors = fixed_factors(DEVICE) if matrix is None else camera_factors(matrix, matrix)
    rope = tuple(table.to(DEVICE) for table in rope_table(head_dim, 0, frames, 1, tokens))
    norm = nn.RMSNorm(width, eps=1e-6, device=DEVICE, dtype=torch.bfloat16)
    length, written = 16 * 9, slice(before, before + frames * tokens)
    k, v = (torch.full((len(factors.k) * batch, heads, *end), 3.0, device=DEVICE).to(FP8)
            for end in ((length, head_dim), (head_dim, length)))  # fmt: skip
    kernels = fused.kernels()
    wants = (PLAIN_FP8.branches(x, heads, norm, rope, matrix, None, factors.k),
             PLAIN_FP8.values(x, heads, matrix, None, factors.v))  # fmt: skip
    kernels.branches(x, heads, norm, rope, matrix, k[:, :, written], factors.k)
    kernels.values(x, heads, matrix, v[..., written], factors.v)
    assert relative(k[:, :, written], wants[0]) < CUT_OFF
    assert relative(v[..., written], wants[1]) < CUT_OFF
    for beside in (k[:, :, :before], k[:, :, written.stop :], v[..., :before], v[..., written.stop :]):
        assert (beside.float() == 3).all(), "nothing beside the slice may be written"
    new = (
        kernels.branches(x, heads, norm, rope, matrix, None, factors.k),
        kernels.values(x, heads, matrix, None, factors.v),
    )
    for got, want in zip(new, wants, strict=True):
        assert got.dtype == FP8
        assert relative(got, want) < CUT_OFF


@pytest.mark.parametrize("splits", [1, 2, 3, None])
@pytest.mark.parametrize(("head_dim", "queries", "keys"), [(32, 70, 300), (24, 5, 40), (64, 64, 256)])
def test_attention(fused, splits: int | None, head_dim: int, queries: int, keys: int):
    """Of two branches with other factors, over the beginning of longer buffers."""
    batch, heads, longer = 4, 2, keys // 16 * 16 + 32
    factors = Factors(*(torch.tensor(pair, device=DEVICE) for pair in ((2.0, 1.0), (8.0, 4.0), (4.0, 2.0))))
    of_branch = factors.q.repeat_interleave(2)[:, None, None, None]
    q, k, v = (torch.randn(batch, heads, *shape, device=DEVICE) for shape in
               ((queries, head_dim), (longer, head_dim), (head_dim, longer)))  # fmt: skip
    q, k, v = (q * of_branch).to(FP8), (k * 4 * of_branch).to(FP8), (v * 2 * of_branch).to(FP8)
    k, v = k[:, :, :keys], v[..., :keys]
    want = attend(q, k, v, factors, torch.bfloat16)
    got = fused.attend(q, k, v, factors, torch.bfloat16, splits=splits)
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    assert relative(got, want) < CUT_OFF


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE.type != "cuda", reason="no CUDA GPU; Triton's interpreter knows no NaN in fp8")
def test_nothing_behind_the_last_value_is_read(fused):
    """A row is read up to the next 16 bytes; what lies there may be NaN, which a weight of 0 does not undo."""
    factors = fixed_factors(DEVICE)
    q, k = (torch.randn(1, 2, 40, 32, device=DEVICE).to(FP8) for _ in range(2))
    memory = torch.full((2 * 32 * 40 + 64,), 0x7F, dtype=torch.uint8, device=DEVICE).view(FP8)
    v = memory[: 2 * 32 * 40].view(1, 2, 32, 40)
    v.copy_(torch.randn(1, 2, 32, 40))
    assert relative(fused.attend(q, k, v, factors, torch.float32), attend(q, k, v, factors, torch.float32)) < CUT_OFF


def test_rows_that_end_elsewhere_are_padded(fused):
    v = torch.randn(1, 2, 32, 40, device=DEVICE).to(FP8)
    padded = fused._fetchable(v)
    assert torch.equal(padded.float(), v.float())
    assert padded.stride(2) == 48
    assert fused._fetchable(padded) is padded


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE.type != "cuda", reason="no CUDA GPU; Triton's interpreter sums in float32")
def test_sums_over_many_keys_lose_nothing(fused):
    """Of values with a mean, of which the tensor cores' own sums lose a sixth over so many keys."""
    factors = fixed_factors(DEVICE)
    q, k = (
        rounded(torch.randn(1, 2, tokens, 128, device=DEVICE), f)
        for tokens, f in ((64, factors.q), (17_600, factors.k))
    )
    v = rounded(torch.randn(1, 2, 17_600, 128, device=DEVICE) + 0.5, factors.v).transpose(-1, -2).contiguous()
    assert relative(fused.attend(q, k, v, factors, torch.float32), attend(q, k, v, factors, torch.float32)) < 0.01


def test_splits_let_all_programs_end_together(fused):
    at_once = 264  # an H200's
    assert fused.splits_for(888, 256, at_once) == 2  # of Self-Forcing 1.3B at 480x832: 3.4 turns become 6.7
    assert fused.splits_for(2640, 138, at_once) == 1  # WorldPlay at 704x1280: 10 turns
    assert fused.splits_for(24, 6, at_once) == 4
    assert fused.splits_for(24, 1, at_once) == 1
