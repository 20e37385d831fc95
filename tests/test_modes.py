"""Choices of speed and memory: what they pick here, and what they say where something is missing."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import hyworld
from hyworld import builtin, dit, gpu, modes
from hyworld.config import TINY, TINY_RANDOM
from hyworld.dit import PLAIN, Inputs, WanDiT
from hyworld.dit.graphs import GraphedNetwork
from hyworld.errors import InputError
from hyworld.modes import (
    Modes,
    at_speed,
    check_modes,
    decoder_at,
    keeps_compact,
    network_kernels,
    remembering,
    why_slower,
)
from hyworld.pipeline import make_walker
from hyworld.vae import Wan22VAE
from hyworld.vae.fp8_convolution import Fp8Conv3d
from hyworld.vae.kernels import PLAIN as VAE_PLAIN
from hyworld.walk import Walker
from hyworld.walk.recipes import recipe

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("field", "value"),
    [("attention", "x"), ("kernels", "fast"), ("linears", "int8"), ("kv", ""), ("graphs", "yes"), ("convolutions", "")],
)
def test_unknown_choices_are_refused(field: str, value: str):
    with pytest.raises(InputError, match=rf"Modes\.{field} must be one of .*, got '{value}'"):
        Modes(**{field: value})


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (Modes(kernels="triton"), "Triton kernels cannot run: .*not for cpu; choose the kernels auto or plain"),
        (Modes(linears="fp8"), "fp8 products cannot run: .* choose the linears exact"),
        (Modes(attention="flash"), "attention backend 'flash' needs the package flash_attn"),
        (Modes(attention="fp8"), "fp8 attention cannot run: an NVIDIA card is needed; choose the attention auto"),
        (
            Modes(convolutions="fp8"),
            "fp8 convolutions cannot run: an NVIDIA card is needed; choose the convolutions exact",
        ),
        (Modes(convolutions="fp8", kernels="plain"), "fp8 convolutions are Triton kernels: choose the kernels auto"),
        (Modes(graphs="on"), "CUDA graphs cannot run: they need an NVIDIA card; choose"),
    ],
)
def test_what_cannot_run_here_is_said(asked: Modes, sentence: str):
    with pytest.raises(InputError, match=sentence):
        check_modes(asked, CPU)


def test_on_a_cpu_everything_is_plain(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hyworld.modes.multiplies_bfloat16", lambda: False)
    vae = builtin.vae(TINY_RANDOM)
    vae.kernels = VAE_PLAIN._replace(convolve=lambda conv, x: (x, None))  # as if it had run on a GPU before
    walker = make_walker(builtin.dit(TINY_RANDOM), vae, vae, Modes(), CPU, torch.float32)
    assert isinstance(walker.network, WanDiT)
    assert walker.network.kernels == PLAIN
    assert vae.kernels == VAE_PLAIN
    assert not walker.compact_memory
    assert why_slower("auto", CPU) is None


def test_attention_in_fp8_gets_its_kernels_and_its_memory(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("triton", reason="Triton is not installed")
    monkeypatch.setattr(modes, "fp8_attention_missing", lambda device: None)
    vae = builtin.vae(TINY_RANDOM)
    walker = make_walker(builtin.dit(TINY_RANDOM), vae, vae, Modes(attention="fp8"), CPU, torch.float32)
    assert isinstance(walker.network, WanDiT)
    assert walker.network.kernels.fp8 is not None
    assert walker.fp8_memory
    exact = make_walker(walker.network, vae, vae, Modes(), CPU, torch.float32)
    assert walker.network.kernels.fp8 is None
    bytes_kept, exact_bytes = (w.bytes_needed((20, 36))[0] for w in (walker, exact))
    assert bytes_kept * 3.9 < exact_bytes, "a quarter of float32"


@pytest.mark.parametrize(
    ("missing", "older", "oldest", "name"),
    [
        (gpu.fp8_attention_missing, (8, 6), (8, 9), "8.9 (RTX 40)"),
        (gpu.fp8_convolutions_missing, (8, 9), (9, 0), "9.0 (Hopper, Blackwell)"),
    ],
)
def test_cards_and_compilers_without_these_fp8_kernels_are_a_reason(
    missing: Any, older: tuple[int, int], oldest: tuple[int, int], name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: older)
    assert name in str(missing.__wrapped__(GPU))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: oldest)
    monkeypatch.setattr(gpu, "triton_missing", lambda device: "the package triton is not installed")
    assert "triton is not installed" in str(missing.__wrapped__(GPU))


def test_convolutions_in_fp8_are_the_full_decoders(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(modes, "fp8_convolutions_missing", lambda device: None)
    with pytest.raises(InputError, match="fp8 convolutions are the full decoder's: choose the decoder full"):
        hyworld.load(decoder="tiny", device="cpu", modes=Modes(convolutions="fp8"))
    vae = builtin.vae(TINY_RANDOM)
    make_walker(builtin.dit(TINY_RANDOM), vae, vae, Modes(), CPU, torch.float32)
    assert not any(isinstance(layer, Fp8Conv3d) for layer in vae.modules())
    for _ in range(2):  # another walker with the same decoder
        make_walker(builtin.dit(TINY_RANDOM), vae, vae, Modes(convolutions="fp8"), CPU, torch.float32)
    assert any(isinstance(layer, Fp8Conv3d) for layer in vae.decoder.modules())
    assert not any(isinstance(layer, Fp8Conv3d) for layer in vae.encoder.modules())


@torch.no_grad()
def test_a_vae_beside_a_tiny_decoder_keeps_its_encoder_alone():
    pipeline = hyworld.load(preset="tiny", decoder="tiny", device="cpu")
    whole = builtin.vae(TINY)
    assert isinstance(pipeline.vae, Wan22VAE)
    kept, all_of_it = (sum(p.nbytes for p in vae.parameters()) for vae in (pipeline.vae, whole))
    assert kept < all_of_it / 2
    picture = torch.rand(1, 3, 1, 64, 64) * 2 - 1
    assert torch.equal(pipeline.vae.encode(picture), whole.encode(picture))


def test_a_gpu_without_triton_falls_back_and_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(modes, "triton_missing", lambda device: "the package triton is not installed")
    assert network_kernels(Modes(), GPU) == PLAIN
    assert "slower: the package triton is not installed" in str(why_slower("auto", GPU))
    assert why_slower("plain", GPU) is None, "who asks for it knows"
    with pytest.raises(InputError, match="triton is not installed; choose"):
        network_kernels(Modes(kernels="triton"), GPU)


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


def test_a_full_gpu_says_nothing_of_triton(monkeypatch: pytest.MonkeyPatch):
    """The error goes to the user, and is forgotten: the next load may find room."""
    pytest.importorskip("triton", reason="Triton is not installed")
    from hyworld.dit import fused

    rooms = iter([torch.OutOfMemoryError("CUDA out of memory"), None])

    def gated_add(*_: object) -> None:
        if (full := next(rooms)) is not None:
            raise full

    monkeypatch.setattr(fused, "gated_add", gated_add)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch, "ones", lambda *_, **__: None)
    monkeypatch.setattr(gpu, "current", lambda device: nullcontext())
    gpu.triton_missing.cache_clear()
    try:
        with pytest.raises(torch.OutOfMemoryError):
            gpu.triton_missing(GPU)
        assert gpu.triton_missing(GPU) is None
    finally:
        gpu.triton_missing.cache_clear()


def test_loading_refuses_what_cannot_run_before_it_reads_a_file():
    with pytest.raises(InputError, match="Triton kernels cannot run"):
        hyworld.load("no such file", vae="nor this", device="cpu", modes=Modes(kernels="triton"))


class Played:
    """A CUDA graph that runs nothing, so that its recordings can be looked at on a CPU."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def replay(self) -> None:
        pass


def test_recordings_vanish_with_the_memory_they_write_to(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Played)
    monkeypatch.setattr(torch.cuda, "graph", Played)
    network = GraphedNetwork(builtin.dit(TINY_RANDOM))
    walker = Walker(network, points=torch.randn(200, 3))
    text = torch.zeros(1, 4, TINY_RANDOM.dit.text_dim)
    for size in ((2, 2), (2, 4)):
        list(walker.walk(walker.begin(text, latent_size=size), "w-19"))
        assert [len(recordings) for recordings in network._recordings.values()] == [2]
    del walker
    assert len(network._recordings) == 0


class FullWhileRecording:
    """A `torch.cuda.graph` whose end fails too, as it does after an error inside."""

    def __init__(self, graph: object) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture")


def test_a_gpu_that_fills_up_while_a_graph_is_recorded_is_reported_as_full(monkeypatch: pytest.MonkeyPatch):
    network = GraphedNetwork(builtin.dit(TINY_RANDOM))
    walker = Walker(network, points=torch.randn(200, 3))
    recorded_at = 4 + 3 * 5 + 2  # chunks 0 to 3, then the first prefill that fills the memory, and its recording
    calls = 0

    class Full(WanDiT):
        def forward(self, inputs: Inputs) -> Tensor | None:
            nonlocal calls
            calls += 1
            if calls == recorded_at:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(inputs)

    network.model.__class__ = Full
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", FullWhileRecording)
    world = walker.begin(torch.zeros(1, 4, TINY_RANDOM.dit.text_dim), latent_size=(2, 2))
    with pytest.raises(torch.OutOfMemoryError):
        list(walker.walk(world, "w-19"))
    assert calls == recorded_at


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
    for gigabytes, compact in ((24, True), (141, False)):
        card = SimpleNamespace(total_memory=gigabytes * 10**9)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device, card=card: card)
        assert keeps_compact(Modes(), fused=True, device=GPU) == compact
    monkeypatch.setattr(modes, "_has_graphs", lambda device: True)
    vae = builtin.vae(TINY_RANDOM)
    for graphs, recorded in (("auto", True), ("on", True), ("off", False)):
        walker = make_walker(builtin.dit(TINY_RANDOM), vae, vae, Modes(graphs=graphs), CPU, torch.float32)
        assert isinstance(walker.network, GraphedNetwork) == recorded


def test_a_speed_chooses_what_is_left_at_its_default():
    assert at_speed("exact", Modes(kv="fast")) == Modes(kv="fast")
    assert at_speed("fast", Modes(kv="fast")) == Modes(attention="fp8", linears="fp8", kv="fast")
    assert at_speed("fast", Modes(), "full") == Modes(attention="fp8", linears="fp8", convolutions="fp8")
    assert at_speed("fast", Modes(kernels="plain"), "full") == at_speed("fast", Modes(kernels="plain"))
    assert at_speed("fast", Modes(), "tiny") == at_speed("fastest", Modes(), "full") == at_speed("fast", Modes())
    assert at_speed("fastest", Modes(attention="sage")) == Modes(attention="sage", linears="fp8")
    assert [decoder_at(speed, "full") for speed in ("exact", "fast", "fastest")] == ["full", "full", "tiny"]


@pytest.mark.parametrize("remembered", [8, 12])
def test_a_smaller_memory_keeps_one_older_clip(remembered: int):
    vae = builtin.vae(TINY_RANDOM)
    walker = make_walker(builtin.dit(TINY_RANDOM), vae, vae, Modes(remembered=remembered), CPU, torch.float32)
    chunks = list(walker.walk(walker.begin(torch.zeros(1, 1, 64), latent_size=(4, 6)), "s-23"))
    chosen = chunks[-1].memory_frames
    assert len(chosen) == remembered
    assert chosen[4:] == tuple(range(20 - remembered + 4, 20))


def test_a_window_is_not_made_smaller():
    with pytest.raises(InputError, match="self_forcing remembers a window of latents that it was made for: leave"):
        remembering(recipe("self_forcing"), Modes(remembered=8))
    assert remembering(recipe("self_forcing"), Modes()) is recipe("self_forcing")
