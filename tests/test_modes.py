"""Choices of speed and memory: what they pick here, and what they say where something is missing."""

from __future__ import annotations

import sys
from contextlib import nullcontext

import pytest
import torch

from hyworld import dit, gpu, modes
from hyworld.config import TINY_RANDOM
from hyworld.dit import PLAIN, WorldPlayDiT
from hyworld.dit.graphs import GraphedNetwork
from hyworld.errors import InputError
from hyworld.modes import Modes, check_modes, keeps_compact, make_engine, network_kernels, why_slower
from hyworld.tiny import tiny_dit, tiny_vae
from hyworld.vae.kernels import PLAIN as VAE_PLAIN

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(("field", "value"), [("kernels", "fast"), ("linears", "int8"), ("kv", ""), ("graphs", "yes")])
def test_unknown_choices_are_refused(field: str, value: str):
    with pytest.raises(InputError, match=rf"Modes\.{field} must be one of .*, got '{value}'"):
        Modes(**{field: value})


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (Modes(kernels="triton"), "Triton kernels cannot run: .*not for cpu; choose the kernels auto or plain"),
        (Modes(linears="fp8"), "fp8 products cannot run: .* choose the linears exact"),
        (Modes(graphs="on"), "CUDA graphs cannot run: they need an NVIDIA card; choose"),
    ],
)
def test_what_cannot_run_here_is_said(asked: Modes, sentence: str):
    with pytest.raises(InputError, match=sentence):
        check_modes(asked, CPU)


def test_on_a_cpu_everything_is_plain():
    vae = tiny_vae(TINY_RANDOM)
    vae.kernels = VAE_PLAIN._replace(convolve=lambda conv, x: (x, None))  # as if it had run on a GPU before
    engine = make_engine(tiny_dit(TINY_RANDOM), vae, vae, modes=Modes(), device=CPU, dtype=torch.float32)
    assert isinstance(engine.model, WorldPlayDiT)
    assert engine.model.kernels == PLAIN
    assert vae.kernels == VAE_PLAIN
    assert not engine.compact_memory
    assert why_slower("auto", CPU) is None


def test_a_gpu_without_triton_falls_back_and_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(modes, "triton_missing", lambda device: "the package triton is not installed")
    assert network_kernels("auto", GPU) == PLAIN
    assert "slower: the package triton is not installed" in str(why_slower("auto", GPU))
    assert why_slower("plain", GPU) is None, "who asks for it knows"
    with pytest.raises(InputError, match="triton is not installed; choose"):
        network_kernels("triton", GPU)


def test_a_broken_compiler_is_a_reason(monkeypatch: pytest.MonkeyPatch):
    """Triton may be installed and still fail when it builds its first kernel."""
    pytest.importorskip("triton", reason="Triton is not installed")
    from hyworld.dit import fused

    def fail(*_: object) -> None:
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC environment variable.")

    def fail_without_a_word(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(fused, "gated_add", fail)
    assert triton_missing(monkeypatch, (9, 0)) == "Triton cannot build kernels here (Failed to find C compiler.)"
    monkeypatch.setattr(fused, "gated_add", fail_without_a_word)
    assert triton_missing(monkeypatch, (9, 0)) == "Triton cannot build kernels here (AssertionError)"
    assert "compute capability 8.0" in str(triton_missing(monkeypatch, (7, 5)))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 9))
    assert "9.0" in str(gpu.fp8_missing(GPU))


def test_a_triton_that_cannot_be_imported_is_a_reason(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("triton", reason="Triton is not installed")
    monkeypatch.delattr(dit, "fused", raising=False)
    monkeypatch.delitem(sys.modules, "hyworld.dit.fused", raising=False)
    monkeypatch.setitem(sys.modules, "triton.language", None)
    assert "Triton cannot build kernels here (import of triton.language" in str(triton_missing(monkeypatch, (9, 0)))


def test_a_card_that_this_torch_cannot_multiply_fp8_on_is_a_reason(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise RuntimeError("Rowwise scaling is not supported on your device")

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (12, 0))
    monkeypatch.setattr(gpu, "triton_missing", lambda device: None)
    monkeypatch.setattr(gpu, "quantise_rows", lambda x: (x, x))
    monkeypatch.setattr(torch, "ones", lambda *_, **__: None)
    monkeypatch.setattr(gpu, "multiply", lambda *_: None)
    assert gpu.fp8_missing(GPU) is None
    monkeypatch.setattr(gpu, "multiply", fail)
    assert "has none for this card (Rowwise scaling is not supported on your device)" in str(gpu.fp8_missing(GPU))


def triton_missing(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> str | None:
    """What is said on a card of this compute capability, found out anew."""
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        patch.setattr(torch, "ones", lambda *_, **__: None)
        patch.setattr(gpu, "current", lambda device: nullcontext())
        return gpu.triton_missing.__wrapped__(GPU)


def test_auto_memory_and_graphs(monkeypatch: pytest.MonkeyPatch):
    assert keeps_compact(Modes(), fused=True)
    assert not keeps_compact(Modes(), fused=False)
    assert keeps_compact(Modes(kv="compact"), fused=False)
    assert not keeps_compact(Modes(kv="fast"), fused=True)
    monkeypatch.setattr(modes, "_has_graphs", lambda device: True)
    vae = tiny_vae(TINY_RANDOM)
    for graphs, recorded in (("auto", True), ("on", True), ("off", False)):
        engine = make_engine(
            tiny_dit(TINY_RANDOM), vae, vae, modes=Modes(graphs=graphs), device=CPU, dtype=torch.float32
        )
        assert isinstance(engine.model, GraphedNetwork) == recorded
