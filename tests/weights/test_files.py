"""Formats, envelopes and folders are read alike; whatever cannot be read is refused in one clear sentence."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hyworld.errors import InputError
from hyworld.weights import dit_to_native, read_checkpoint
from hyworld.weights.files import stream

STATE = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.arange(3, dtype=torch.bfloat16)}


class RunsCode:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.mark}",)


def assert_same(state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert state[name].dtype == tensor.dtype
        assert torch.equal(state[name], tensor), name


def test_released_envelope_gives_the_generator_bit_for_bit(golden_pickle: Path, golden_dit: Path) -> None:
    checkpoint = read_checkpoint(golden_pickle)
    assert checkpoint.envelope == "generator"
    assert checkpoint.mapped
    assert_same(dit_to_native(checkpoint.state), dit_to_native(load_file(golden_dit)))


def test_safetensors_with_metadata(golden_dit: Path) -> None:
    checkpoint = read_checkpoint(golden_dit)
    assert json.loads(checkpoint.metadata["config"])["heads"] == 2
    assert checkpoint.envelope is None
    assert_same(checkpoint.state, load_file(golden_dit))


@pytest.mark.parametrize("envelope", ["generator", "state_dict", "model", None])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickles(tmp_path: Path, envelope: str | None, zipped: bool) -> None:
    path = tmp_path / "any.name"
    content = {envelope: STATE, "step": 3, "optimizer": {"lr": 0.1}} if envelope else {**STATE, "step": 3}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    checkpoint = read_checkpoint(path)
    assert (checkpoint.envelope, checkpoint.mapped) == (envelope, zipped)
    assert_same(checkpoint.state, STATE)


def test_generator_wins_over_other_envelopes(tmp_path: Path) -> None:
    zeros = {name: torch.zeros_like(tensor) for name, tensor in STATE.items()}
    torch.save({"model": zeros, "generator_ema": zeros, "generator": STATE}, tmp_path / "x.pt")
    assert_same(read_checkpoint(tmp_path / "x.pt").state, STATE)


def test_ema_alone_is_not_taken(tmp_path: Path) -> None:
    torch.save({"generator_ema": STATE, "step": 1}, tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"no tensors at the top or under generator.*found: generator_ema, step"):
        read_checkpoint(tmp_path / "x.pt")


def test_sharded_folder_with_its_config(tmp_path: Path) -> None:
    shards = {f"diffusion_pytorch_model-0000{i}-of-00002.safetensors": name for i, name in enumerate(STATE, 1)}
    for file, name in shards.items():
        save_file({name: STATE[name]}, tmp_path / file)
    index = {"metadata": {}, "weight_map": {name: file for file, name in shards.items()}}
    (tmp_path / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_text('{"attention_head_dim": 32}')

    checkpoint = read_checkpoint(tmp_path)
    assert_same(checkpoint.state, STATE)
    assert json.loads(checkpoint.metadata["config"]) == {"attention_head_dim": 32}
    assert [file.name for file in checkpoint.files] == sorted(shards)

    (tmp_path / min(shards)).unlink()
    with pytest.raises(InputError, match=r"lacks 1 of its 2 weight files .*00001-of-00002"):
        read_checkpoint(tmp_path)


def test_index_that_promises_more_than_its_files_hold(tmp_path: Path) -> None:
    save_file({"a.bias": STATE["a.bias"]}, tmp_path / "m.safetensors")
    index = {"weight_map": dict.fromkeys(STATE, "m.safetensors")}
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"1 tensors of its index are in none of its files \(first: a.weight\)"):
        read_checkpoint(tmp_path)


def test_folder_with_one_file(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "readme.md").write_text("…")
    assert_same(read_checkpoint(tmp_path).state, STATE)


def test_folders_that_are_not_one_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no weights"):
        read_checkpoint(tmp_path)
    (tmp_path / "transformer").mkdir()
    (tmp_path / "vae").mkdir()
    with pytest.raises(InputError, match=r"whole pipeline: give one of its parts \(transformer, vae\)"):
        read_checkpoint(tmp_path)
    for name in ("a.safetensors", "b.pt"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="holds 2 weight files and no single index"):
        read_checkpoint(tmp_path)
    (tmp_path / "c.safetensors.index.json").write_text("{}")
    with pytest.raises(InputError, match="not a weight index"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "Git LFS pointer"),
        (b"<!DOCTYPE html>\n<html></html>", "web page"),
        (b"\n<HTML><head>", "web page"),
        (b"GGUF\x03\x00\x00\x00\x00", "GGUF"),
        (b"Entry not found", "neither safetensors nor a torch checkpoint"),
        (b"\x05\x00\x00\x00\x00\x00\x00\x00{]]}}", "unreadable safetensors header"),
        (b"\x05\x00\x00\x00\x00\x00\x00\x00{}   trailing", "damaged safetensors"),
    ],
)
def test_other_contents_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_checkpoint(path)
    assert str(path) in str(error.value)


def test_file_that_may_not_be_read(golden_dit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"dit_weights\.safetensors cannot be read \(Permission denied\)"):
        read_checkpoint(golden_dit)


def test_damaged_pickle(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"\x80\x02garbage")
    with pytest.raises(InputError, match="not a complete torch checkpoint"):
        read_checkpoint(tmp_path / "x.pt")


def test_pickle_under_a_safetensors_name(tmp_path: Path) -> None:
    torch.save({"generator": STATE}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=r"torch pickle under a safetensors name: rename it to end in \.pt"):
        read_checkpoint(tmp_path / "x.safetensors")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no checkpoint at .*nowhere\.pt"):
        read_checkpoint(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.2, 0.5, 0.99, 0.999999])
def test_downloads_that_stopped_early(tmp_path: Path, golden_dit: Path, golden_pickle: Path, share: float) -> None:
    for source in (golden_dit, golden_pickle):
        data = source.read_bytes()
        path = tmp_path / f"cut_{source.name}"
        path.write_bytes(data[: max(9, int(len(data) * share))])
        with pytest.raises(InputError, match="cut short"):
            read_checkpoint(path)


def test_old_pickles_that_stop_anywhere(tmp_path: Path) -> None:
    whole, cut = tmp_path / "old.pt", tmp_path / "cut.pt"
    torch.save({"generator": STATE}, whole, _use_new_zipfile_serialization=False)
    data = whole.read_bytes()
    for length in range(1, len(data)):
        cut.write_bytes(data[:length])
        # Broken off inside the name of a function, it looks like another function.
        with pytest.raises(InputError, match=r"cut short|needs code"):
            read_checkpoint(cut)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "was_run"
    content = {"generator": STATE, "x": RunsCode(mark)}
    torch.save(content, tmp_path / "evil.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"needs code to open \((posix|nt)\.system\), which is refused"):
        read_checkpoint(tmp_path / "evil.pt")
    assert not mark.exists()


def test_training_arguments_in_a_pickle_are_refused_by_name(tmp_path: Path) -> None:
    torch.save({"generator": STATE, "args": argparse.Namespace(lr=1)}, tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"argparse\.Namespace"):
        read_checkpoint(tmp_path / "x.pt")


def test_other_zip_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match="another kind of archive"):
        read_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize("content", [[torch.ones(2)], {"step": 1}, {"generator": {"lr": 0.1}}, {}])
def test_pickles_without_named_tensors(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"x\.pt holds"):
        read_checkpoint(tmp_path / "x.pt")


def test_stream_opens_the_state_anew_after_every_window() -> None:
    state = {str(i): torch.full((256,), float(i)) for i in range(10)}
    opened = 0

    def open_state() -> dict[str, Tensor]:
        nonlocal opened
        opened += 1
        return state

    names = ["3", "1", *"456789"]
    got = list(stream(open_state, names, window=2048))
    assert [name for name, _ in got] == names
    assert all(torch.equal(tensor, state[name]) for name, tensor in got)
    assert opened == 4


def test_reading_leaves_the_file_alone(tmp_path: Path, golden_dit: Path) -> None:
    path = shutil.copy(golden_dit, tmp_path / "x.safetensors")
    before = path.read_bytes()
    for tensor in read_checkpoint(path).state.values():
        tensor.zero_()
    assert path.read_bytes() == before
