"""Conversion: the numbers within the dtype's rounding, nothing half-written, little memory."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from hyworld.config import DiTConfig
from hyworld.dit import WanDiT
from hyworld.errors import InputError
from hyworld.fp8 import MARKER, is_quantised_layer
from hyworld.weights import convert, dit_shapes, dit_to_diffusers, dit_to_native, load_dit, load_vae, vae_to_diffusers
from hyworld.weights.random import randomise
from hyworld.weights.recognise import is_camera_tensor
from hyworld.weights.writer import SafetensorsWriter

TORCH_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("layout", ["native", "diffusers"])
def test_released_pickle_to_one_file(
    tmp_path: Path, golden_pickle: Path, native: dict[str, Tensor], golden_config: DiTConfig, dtype: str, layout: str
) -> None:
    target = tmp_path / "out.safetensors"
    report = convert(golden_pickle, target, dtype=dtype, layout=layout, head_dim=32)

    expected = native if layout == "native" else dit_to_diffusers(native)
    stored = load_file(target)
    assert stored.keys() == expected.keys()
    for name, tensor in expected.items():
        assert stored[name].dtype == TORCH_DTYPES[dtype]
        assert torch.equal(stored[name], tensor.to(TORCH_DTYPES[dtype])), name
    assert (report.kind, report.config, report.tensors, report.base) == ("transformer", golden_config, 106, False)
    assert report.bytes == target.stat().st_size
    assert [file.name for file in tmp_path.iterdir()] == ["out.safetensors"]
    assert load_dit(target, dtype=None).config == golden_config


def test_averaged_weights_alone(tmp_path: Path) -> None:
    """As a file of DreamX-World's may have them."""
    config = DiTConfig(2, 24, 1, ffn_dim=64, latent_channels=6, text_dim=32, freq_dim=32, camera_width=24)
    state = randomise(WanDiT(config), 0).state_dict()
    source, target = tmp_path / "model.pt", tmp_path / "out.safetensors"
    torch.save({"generator_ema": {f"model.{name}": tensor for name, tensor in state.items()}}, source)
    assert convert(source, target, dtype="fp32", head_dim=24).config == config
    assert all(torch.equal(tensor, state[name]) for name, tensor in load_file(target).items())


def test_metadata(tmp_path: Path, golden_pickle: Path) -> None:
    convert(golden_pickle, tmp_path / "out.safetensors", head_dim=32)
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        metadata = file.metadata()
    sizes = {"heads": 2, "hd": 32, "cin": 6, "text_dim": 24, "freq": 32, "ffn": 96, "layers": 3}
    assert json.loads(metadata.pop("config")) == sizes
    assert metadata == {"format": "pt", "source": "model.pt", "converter": "hyworld 1"}


@pytest.mark.parametrize("layout", ["native", "diffusers"])
def test_fp8(tmp_path: Path, golden_dit: Path, native: dict[str, Tensor], layout: str) -> None:
    target = tmp_path / "out.safetensors"
    report = convert(golden_dit, target, dtype="fp8", layout=layout)
    stored = dit_to_native(load_file(target))
    assert stored.pop(MARKER).dtype == torch.float8_e4m3fn
    quantised = {name for name in native if is_quantised_layer(name)}
    assert report.tensors == len(native) + len(quantised) + 1 == len(stored) + 1
    for name, tensor in native.items():
        if name in quantised:
            scale = stored[name.replace(".weight", ".scale_weight")]
            assert stored[name].dtype == torch.float8_e4m3fn
            assert (stored[name].float() * scale - tensor).abs().max() <= scale * 16.1
        else:
            assert torch.equal(stored[name], tensor.to(torch.bfloat16))

    loaded = load_dit(target, dtype=torch.float32).state_dict()
    for name in quantised:
        scale = stored[name.replace(".weight", ".scale_weight")]
        assert torch.equal(loaded[name], stored[name].float() * scale)


def test_fp8_back_to_bf16_and_again_is_stable(tmp_path: Path, golden_dit: Path) -> None:
    first, wide, second = (tmp_path / f"{name}.safetensors" for name in ("first", "wide", "second"))
    convert(golden_dit, first, dtype="fp8")
    convert(first, wide, dtype="fp32")
    assert not any("scale" in name for name in load_file(wide))
    convert(wide, second, dtype="fp8")
    one, two = load_file(first), load_file(second)
    assert one.keys() == two.keys()
    for name in one:
        if name.endswith("scale_weight"):
            torch.testing.assert_close(two[name], one[name])
        else:
            assert torch.equal(two[name].view(torch.uint8), one[name].view(torch.uint8)), name


def test_base_wan(tmp_path: Path, native: dict[str, Tensor]) -> None:
    base = {name: tensor for name, tensor in native.items() if not is_camera_tensor(name)}
    save_file(dit_to_diffusers(base), tmp_path / "base.safetensors", {"config": '{"heads": 2}'})
    report = convert(tmp_path / "base.safetensors", tmp_path / "wan.safetensors", dtype="fp32")
    assert not report.base
    stored = load_file(tmp_path / "wan.safetensors")
    assert stored.keys() == base.keys()
    assert all(torch.equal(stored[name], tensor) for name, tensor in base.items())
    report = convert(tmp_path / "base.safetensors", tmp_path / "out.safetensors", dtype="fp32", allow_base=True)
    assert report.base
    stored = load_file(tmp_path / "out.safetensors")
    assert stored.keys() == native.keys()
    assert all(torch.equal(stored[name], base.get(name, torch.zeros_like(native[name]))) for name in native)


@pytest.mark.parametrize("rename", [dict, vae_to_diffusers])
def test_vae(tmp_path: Path, golden_vae: Path, rename: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    expected = load_file(golden_vae)
    torch.save(rename(expected), tmp_path / "vae.pth")
    report = convert(tmp_path / "vae.pth", tmp_path / "vae.safetensors", dtype="fp32")
    assert (report.kind, report.tensors) == ("vae", 196)
    stored = load_file(tmp_path / "vae.safetensors")
    assert stored.keys() == expected.keys()
    assert all(torch.equal(stored[name], expected[name]) for name in expected)
    assert load_vae(tmp_path / "vae.safetensors").config == report.config
    for options in ({"dtype": "fp8"}, {"layout": "diffusers"}):
        with pytest.raises(InputError, match="is a VAE, which is written in the native layout and not in fp8"):
            convert(tmp_path / "vae.pth", tmp_path / "other.safetensors", **options)


def test_progress_counts_bytes(tmp_path: Path, golden_dit: Path) -> None:
    calls: list[tuple[int, int]] = []
    convert(
        golden_dit, tmp_path / "out.safetensors", dtype="fp8", progress=lambda done, total: calls.append((done, total))
    )
    done = [call[0] for call in calls]
    assert done == sorted(done)
    assert {call[1] for call in calls} == {done[-1]}
    assert done[-1] == sum(tensor.nbytes for tensor in load_file(tmp_path / "out.safetensors").values())


def test_refused_targets(tmp_path: Path, golden_dit: Path) -> None:
    source = tmp_path / "in.safetensors"
    source.write_bytes(golden_dit.read_bytes())
    taken = tmp_path / "taken.safetensors"
    taken.write_bytes(b"precious")
    (tmp_path / "folder.safetensors").mkdir()
    for target, message in (
        (taken, "exists already"),
        (source, "is the source itself"),
        (tmp_path / ".." / tmp_path.name / source.name, "is the source itself"),
        (tmp_path / "nowhere" / "out.safetensors", "folder .*nowhere does not exist"),
        (tmp_path / "out.pt", r"ends in \.safetensors"),
        (tmp_path / "folder.safetensors", "is a folder"),
    ):
        with pytest.raises(InputError, match=message):
            convert(source, target)
    with pytest.raises(InputError, match="is the source itself"):
        convert(source, source, overwrite=True)
    with pytest.raises(InputError, match="is a folder"):
        convert(source, tmp_path / "folder.safetensors", overwrite=True)
    assert taken.read_bytes() == b"precious"
    assert source.read_bytes() == golden_dit.read_bytes()


def test_a_shard_of_the_source_is_not_overwritten(tmp_path: Path, golden_dit: Path) -> None:
    shard = tmp_path / "m.safetensors"
    shard.write_bytes(golden_dit.read_bytes())
    with pytest.raises(InputError, match="is the source itself"):
        convert(tmp_path, shard, overwrite=True)


def test_overwrite(tmp_path: Path, golden_dit: Path, native: dict[str, Tensor]) -> None:
    target = tmp_path / "out.safetensors"
    target.write_bytes(b"old")
    convert(golden_dit, target, dtype="fp32", overwrite=True)
    assert load_file(target).keys() == native.keys()


@pytest.mark.parametrize(("option", "value"), [("dtype", "int8"), ("layout", "comfy")])
def test_unknown_options(tmp_path: Path, golden_dit: Path, option: str, value: str) -> None:
    with pytest.raises(InputError, match=rf"There is no {option} '{value}' to convert to: choose one of"):
        convert(golden_dit, tmp_path / "out.safetensors", **{option: value})


def test_source_that_is_no_model(tmp_path: Path) -> None:
    save_file({"x": torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="not a model this program knows"):
        convert(tmp_path / "x.safetensors", tmp_path / "out.safetensors")


def altered(native: dict[str, Tensor], folder: Path, name: str, value: float) -> Path:
    state = dict(native)
    state[name] = state[name].clone()
    state[name].view(-1)[5] = value
    save_file(state, folder / "altered.safetensors", {"config": '{"hd": 32}'})
    return folder / "altered.safetensors"


@pytest.mark.parametrize("name", ["blocks.1.ffn.0.weight", "head.modulation"])
def test_numbers_beyond_fp16(tmp_path: Path, native: dict[str, Tensor], name: str) -> None:
    source = altered(native, tmp_path, name, -70000.0)
    with pytest.raises(InputError, match=rf"{name} .*holds 70000, beyond what float16 can hold: convert to bf16"):
        convert(source, tmp_path / "out.safetensors", dtype="fp16")
    convert(source, tmp_path / "out.safetensors", dtype="bf16")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["altered.safetensors", "out.safetensors"]


@pytest.mark.parametrize("dtype", ["bf16", "fp8"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_damaged_numbers(tmp_path: Path, native: dict[str, Tensor], dtype: str, value: float) -> None:
    source = altered(native, tmp_path, "blocks.2.self_attn.q.weight", value)
    with pytest.raises(InputError, match=r"is damaged, blocks\.2\.self_attn\.q\.weight holds NaN or infinity"):
        convert(source, tmp_path / "out.safetensors", dtype=dtype)
    assert [file.name for file in tmp_path.iterdir()] == ["altered.safetensors"]


def test_too_little_disk_space(tmp_path: Path, golden_dit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10_000})())
    with pytest.raises(InputError, match=r"not enough disk space in .*0\.00 GB are needed and 0\.00 GB are free"):
        convert(golden_dit, tmp_path / "out.safetensors")
    assert not list(tmp_path.iterdir())


def stop_after(count: int, error: BaseException) -> Callable[[int, int], None]:
    calls = iter(range(count))

    def progress(done: int, total: int) -> None:
        if next(calls, None) is None:
            raise error

    return progress


@pytest.mark.parametrize("count", [0, 50, 105])
def test_ctrl_c_leaves_what_was_there(tmp_path: Path, golden_dit: Path, count: int) -> None:
    target = tmp_path / "out.safetensors"
    target.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        convert(golden_dit, target, overwrite=True, progress=stop_after(count, KeyboardInterrupt()))
    assert [file.name for file in tmp_path.iterdir()] == ["out.safetensors"]
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("code", "message"), [(errno.ENOSPC, "the disk filled up, 0.00 GB are needed"), (errno.EACCES, "Permission denied")]
)
def test_failing_disk(
    tmp_path: Path, golden_dit: Path, monkeypatch: pytest.MonkeyPatch, code: int, message: str
) -> None:
    def write(self: SafetensorsWriter, name: str, tensor: Tensor) -> None:
        raise OSError(code, "Permission denied")

    monkeypatch.setattr(SafetensorsWriter, "write", write)
    with pytest.raises(InputError, match=rf"out\.safetensors could not be written \({message}\)"):
        convert(golden_dit, tmp_path / "out.safetensors")
    assert not list(tmp_path.iterdir())


def with_other_numbers(file: bytes) -> bytes:
    start = 8 + int.from_bytes(file[:8], "little")
    return file[:start] + bytes(byte ^ 1 for byte in file[start:])


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (with_other_numbers, "reads back from"),
        # A dtype of the same width: the same bytes, in a file that loads.
        (lambda file: file.replace(b'"dtype":"BF16"', b'"dtype":"F16" ', 1), "does not hold the tensors"),
        (lambda file: file.replace(rb"\"hd\": 32", rb"\"hd\": 16"), "does not hold the tensors"),
    ],
    ids=["numbers", "dtype", "head size"],
)
def test_a_file_that_changes_while_it_is_written_never_takes_the_name(
    tmp_path: Path, golden_dit: Path, alter: Callable[[bytes], bytes], message: str
) -> None:
    def progress(done: int, total: int) -> None:
        if done == total:
            (part,) = tmp_path.iterdir()
            written = part.read_bytes()
            part.write_bytes(alter(written))
            assert part.read_bytes() != written

    with pytest.raises(RuntimeError, match=message):
        convert(golden_dit, tmp_path / "out.safetensors", progress=progress)
    assert not list(tmp_path.iterdir())


MEASURE = """
import sys
from hyworld.weights import convert

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024

before = peak()
convert(sys.argv[1], sys.argv[2])
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
def test_memory_stays_below_the_size_of_the_model(tmp_path: Path) -> None:
    config = DiTConfig(num_heads=12, num_layers=2, ffn_dim=8960)
    generator = {name: torch.full(shape, 0.5) for name, shape in dit_shapes(config).items()}
    ema = {name: torch.zeros(()).expand(tensor.shape) for name, tensor in generator.items()}
    model_bytes = sum(tensor.nbytes for tensor in generator.values())
    torch.save({"generator": generator, "generator_ema": ema}, tmp_path / "model.pt")

    result = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path / "model.pt", tmp_path / "out.safetensors"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    # A window of the file, one tensor and its copies: the same whatever the size of the model.
    assert int(result.stdout) < 450e6 < model_bytes
