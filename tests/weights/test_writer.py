"""Streamed files are those that the safetensors library writes, byte for byte."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from hyworld.weights.writer import SafetensorsWriter, data_bytes

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn]
shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)
tensors = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
        lambda name: name != "__metadata__"
    ),
    st.tuples(st.sampled_from(DTYPES), shapes),
    min_size=1,
    max_size=6,
)


def drawn(specs: dict[str, tuple[torch.dtype, tuple[int, ...]]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, (dtype, shape) in specs.items()}


def specs_of(state: dict[str, Tensor]) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    return {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in state.items()}


@given(tensors, st.integers())
def test_same_bytes_as_the_library_in_any_order_of_writing(tmp_path_factory, specs, seed: int) -> None:
    state = drawn(specs)
    path = tmp_path_factory.mktemp("writer") / "x.safetensors"
    names = list(state)
    random.Random(seed).shuffle(names)
    with SafetensorsWriter(path, specs) as writer:
        for name in names:
            writer.write(name, state[name])
    assert path.read_bytes() == save(state)
    assert data_bytes(specs) == sum(tensor.nbytes for tensor in state.values())


def test_metadata_and_transposed_tensors_read_back(tmp_path: Path) -> None:
    state = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.ones((), dtype=torch.bfloat16)}
    with SafetensorsWriter(tmp_path / "x", specs_of(state), {"config": '{"ä": "…"}', "format": "pt"}) as writer:
        for name, tensor in state.items():
            writer.write(name, tensor)
    with safe_open(tmp_path / "x", "pt") as file:
        assert file.metadata() == {"config": '{"ä": "…"}', "format": "pt"}
    back = load_file(tmp_path / "x")
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_a_tensor_that_was_never_written_is_a_fault(tmp_path: Path) -> None:
    state = drawn({"a": (torch.float32, (2,)), "b": (torch.float32, (2,))})
    with (
        pytest.raises(ValueError, match="1 tensors were never written, among them b"),
        SafetensorsWriter(tmp_path / "x", specs_of(state)) as writer,
    ):
        writer.write("a", state["a"])


def test_a_tensor_other_than_announced_is_a_fault(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="was announced as"),
        SafetensorsWriter(tmp_path / "x", {"a": (torch.float32, (2,))}) as writer,
    ):
        writer.write("a", torch.zeros(3))


def test_a_tensor_written_twice_is_a_fault(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyError, match="a"),
        SafetensorsWriter(tmp_path / "x", {"a": (torch.float32, (2,))}) as writer,
    ):
        writer.write("a", torch.zeros(2))
        writer.write("a", torch.zeros(2))
