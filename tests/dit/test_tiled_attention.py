"""Attention in whole tiles and the rest equals attention at once: on a GPU, or in Triton's interpreter on a CPU."""

from __future__ import annotations

import importlib

import pytest
import torch

from hyworld.dit import sdpa
from hyworld.walk.walker import fast_attention

pytest.importorskip("triton", reason="Triton is not installed")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
HALF = torch.bfloat16 if torch.cuda.is_available() else torch.float16
"""The interpreter does not multiply bfloat16."""

tiled = importlib.import_module("hyworld.dit.tiled_attention")


def random(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(*shape, device=DEVICE, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, HALF])
@pytest.mark.parametrize("keys", [300, 257])
def test_what_is_left_over_is_joined(keys: int, dtype: torch.dtype):
    heads, dim, queries, whole = 2, 32, 70, 256
    q = 3 * random(1, queries, heads, dim, dtype=dtype).transpose(1, 2)  # token-major, as `branches` makes it
    k, v = random(1, heads, keys, dim, dtype=dtype), random(1, heads, keys, dim, dtype=dtype)
    scores = (q.float() @ k[:, :, :whole].float().transpose(-1, -2)) / dim**0.5
    known = (scores.softmax(-1) @ v[:, :, :whole].float()).to(dtype)
    got = tiled.completed(q, k, v, known, scores.logsumexp(-1, keepdim=True))
    want = sdpa(q.float(), k.float(), v.float())
    assert got.dtype == dtype
    assert got.transpose(1, 2).is_contiguous()
    # Without these keys it would be off by a tenth; a GPU multiplies float32 in TF32 here.
    assert (got.float() - want).norm() / want.norm() < (1e-2 if dtype == HALF else 3e-3)


def test_elsewhere_it_is_pytorchs_own(monkeypatch: pytest.MonkeyPatch):
    q, k, v = (random(1, 2, tokens, 16, dtype=torch.float32) for tokens in (40, 4100, 4100))
    monkeypatch.setattr(tiled, "_cudnn_would", lambda *_: False)
    assert torch.equal(tiled.attend(q, k, v), sdpa(q, k, v))


@pytest.mark.gpu
@pytest.mark.parametrize(("queries", "keys", "heads"), [(3520, 17600, 24), (1560, 7800, 24), (4680, 32760, 12)])
def test_the_released_sizes(queries: int, keys: int, heads: int):
    if not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU")
    q, k, v = (random(2, heads, tokens, 128, dtype=torch.bfloat16) for tokens in (queries, keys, keys))
    with fast_attention(DEVICE):  # PyTorch's own preference is another, once one has been set
        assert tiled._cudnn_would(q, k, v), "PyTorch has its attention of cuDNN"
        got, torchs = tiled.attend(q, k, v), sdpa(q, k, v)
    # Some queries and heads: all in float32 would take a minute.
    some = slice(queries - 70, queries)
    want = sdpa(q[:1, :2, some].float(), k[:1, :2].float(), v[:1, :2].float())
    errors = [float((x[:1, :2, some].float() - want).norm() / want.norm()) for x in (got, torchs)]
    assert errors[0] < 1.6 * errors[1] < 0.01, "rounded once more"
    assert (got.float() - torchs.float()).norm() / torchs.float().norm() < 0.01
