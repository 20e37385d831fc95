"""Copies in units of 16 bytes are copies."""

from __future__ import annotations

import pytest
import torch

from hyworld import copying
from hyworld.copying import copy_into, duplicate


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64, torch.uint8])
@pytest.mark.parametrize("channels", [2, 3, 24, 33])
def test_strided_copies(dtype: torch.dtype, channels: int):
    whole = torch.randint(0, 200, (2, channels, 3, 6, 5)).to(dtype)
    for x in (whole, whole.contiguous(memory_format=torch.channels_last_3d)):
        for part in (x, x[..., 1:-1, :], x[:, :, 1:], x[:, 1:], x.movedim(1, -1)):
            there = torch.empty_like(part).fill_(7)
            copy_into(there, part)
            assert torch.equal(there, part)
            copy = duplicate(part)
            assert torch.equal(copy, part)
            assert copy.data_ptr() != part.data_ptr()


def test_rows_of_heads_are_copied_in_wide_units(monkeypatch: pytest.MonkeyPatch):
    """What this is for: slices whose rows are multiples of 16 bytes; others are copied as they are."""
    units = []
    wide = copying._wide
    monkeypatch.setattr(copying, "_wide", lambda x: units.append(wide(x)) or units[-1])
    x = torch.randn(1, 4, 6, 64, dtype=torch.bfloat16)
    copy_into(torch.empty(2, 1, 4, 6, 32, dtype=x.dtype), x.unflatten(-1, (2, 32)).movedim(3, 0))
    assert [unit.dtype for unit in units] == [torch.complex128] * 2
    units.clear()
    copy_into(torch.empty(1, 4, 6, 31, dtype=x.dtype), x[..., 1:32])
    assert None in units


def test_gradients_pass():
    x = torch.randn(1, 4, 3, 8, requires_grad=True)
    there = torch.empty(1, 4, 3, 8)
    copy_into(there, x)
    (duplicate(x).sum() + there.sum()).backward()
    assert x.grad is not None
    assert (x.grad == 2).all()
