"""Attention backends are chosen by name and refused when they are not there."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch

from hyworld import InputError
from hyworld.dit import sdpa
from hyworld.dit.backends import attention_backend


def test_auto_is_pytorchs():
    assert attention_backend("auto") is sdpa


def test_unknown_and_missing_backends_are_refused(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="choose one of auto, flash, sage, fp8"):
        attention_backend("quick")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs the package flash_attn"):
        attention_backend("flash")
    with pytest.raises(InputError, match="needs the package sageattention"):
        attention_backend("sage")


@pytest.mark.parametrize("name", ["flash", "sage"])
def test_layouts_of_the_packages_are_bridged(name: str, monkeypatch: pytest.MonkeyPatch):
    """With stand-ins that compute exact attention in each package's layout, every backend gives the same."""
    flash, sage = ModuleType("flash_attn"), ModuleType("sageattention")
    flash.flash_attn_func = lambda q, k, v: sdpa(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)

    def sageattn(q, k, v, tensor_layout, is_causal):
        assert (tensor_layout, is_causal) == ("HND", False)
        return sdpa(q, k, v)

    sage.sageattn = sageattn
    monkeypatch.setitem(sys.modules, "flash_attn", flash)
    monkeypatch.setitem(sys.modules, "sageattention", sage)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    q, k, v = torch.randn(2, 3, 7, 8), torch.randn(2, 3, 9, 8), torch.randn(2, 3, 9, 8)
    assert torch.equal(attention_backend(name)(q, k, v), sdpa(q, k, v))
