"""Attention for CPUs that multiply in bfloat16, beside PyTorch's."""

from __future__ import annotations

import pytest
import torch

from hyworld.dit import PLAIN, cpu_attention
from hyworld.dit.kernels import sdpa
from hyworld.modes import Modes, network_kernels

CPU = torch.device("cpu")


def qkv(queries: int, keys: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(queries + keys)
    return tuple(torch.randn(2, 8, n, 32, generator=generator).to(dtype) for n in (queries, keys, keys))


@pytest.mark.parametrize(
    ("queries", "keys"),
    [(180, 900), (720, 720), (180, 64), (3, 5), (700, 760)],  # several heads at a time, one, all; none fits
)
def test_it_attends_as_pytorch_does(queries: int, keys: int):
    q, k, v = qkv(queries, keys, torch.bfloat16)
    exact = sdpa(q.float(), k.float(), v.float())
    error = (cpu_attention.attend(q, k, v).float() - exact).norm() / exact.norm()
    theirs = (sdpa(q, k, v).float() - exact).norm() / exact.norm()
    assert error < 3 * theirs < 1e-2


def test_float32_and_many_scores_are_pytorchs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cpu_attention, "sdpa", lambda q, k, v: "PyTorch's")
    assert cpu_attention.attend(*qkv(180, 900, torch.float32)) == "PyTorch's"
    assert cpu_attention.attend(*qkv(1024, 1024, torch.bfloat16)) == "PyTorch's"


@pytest.mark.parametrize("multiplies", [False, True])
def test_it_is_chosen_where_the_cpu_multiplies_in_bfloat16(monkeypatch: pytest.MonkeyPatch, multiplies: bool):
    monkeypatch.setattr("hyworld.modes.multiplies_bfloat16", lambda: multiplies)
    assert network_kernels(Modes(), CPU).attend is (cpu_attention.attend if multiplies else sdpa)
    assert network_kernels(Modes(kernels="plain"), CPU) == PLAIN
