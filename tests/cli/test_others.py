"""`hyworld trajectory`, `verify`, `convert` and the help texts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hyworld.camera import draw_top_down
from hyworld.verify import REFERENCE
from hyworld.weights import dit_to_native
from hyworld.weights.writer import data_bytes


def test_a_start_does_not_load_the_compiler():
    asked = "import sys, hyworld.cli.app; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], timeout=60).returncode == 0


@pytest.mark.parametrize(
    "command", [(), ("generate",), ("play",), ("world",), ("convert",), ("trajectory",), ("verify",), ("bench",)]
)
def test_help_names_every_option_with_a_text(hyworld, command: tuple[str, ...]):
    done = hyworld(*command, "--help")
    assert done.returncode == 0
    assert len(done.stdout) > 200
    if command == ():
        assert all(
            name in done.stdout for name in ("generate", "play", "world", "convert", "trajectory", "verify", "bench")
        )


def test_trajectory_prints_poses_and_draws_a_map(hyworld, tmp_path: Path):
    done = hyworld("trajectory", "w-8, right-10, w+d-7", "--json", "path.json")
    assert done.returncode == 0, done.stderr
    assert "forward+right" in done.stdout
    assert "26 latents: 6 chunks" in done.stdout
    assert Image.open(tmp_path / "trajectory.png").size[0] > 300
    again = hyworld("trajectory", "path.json")
    assert again.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[1].split()[:2] == ["1", "1"], "chunks and latents count from 1"
    assert lines[26].split()[:2] == ["6", "21"]
    assert lines[26].endswith("remembers 5-20"), lines[26]
    assert again.stdout.splitlines()[1:27] == done.stdout.splitlines()[1:27]
    assert {file.name for file in tmp_path.iterdir()} == {"trajectory.png", "trajectory-2.png", "path.json"}


@pytest.mark.parametrize("name", ["transforms.json", "walk.blender.json", "walk.npz", "sparse/"])
def test_trajectory_exports_what_it_reads(hyworld, tmp_path: Path, name: str):
    done = hyworld("trajectory", "w-8, right-10, w+d-7", "--export", name, "--every-frame", "--size", "160x288")
    assert done.returncode == 0, done.stderr
    assert f"exported: {name}" in done.stdout
    assert done.stderr == "note: the export has 26 latents, but a walk has pictures of 24 of them\n"
    again = hyworld("trajectory", name, "--fps", "16", "--json", "path.json")
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[1:27] == done.stdout.splitlines()[1:27]
    assert "has 101 poses in 6.25 s, read as 26 latents" in again.stderr
    twice = hyworld("trajectory", "w-3", "--export", name, "-o", "other.png")
    assert twice.returncode == 2
    assert "exists already" in twice.stderr
    assert not (tmp_path / "other.png").exists()


def test_trajectory_scales(hyworld, tmp_path: Path):
    hyworld("trajectory", "w-8", "--move-speed", "2", "--export", "walk.npz")
    plain = hyworld("trajectory", "walk.npz")
    assert "trained with about 0.08: scale auto brings it there" in plain.stderr
    done = hyworld("trajectory", "walk.npz", "--scale", "auto", "--json", "path.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "path.json").read_text())["8"]["extrinsic"][2][3] == pytest.approx(0.64)


def test_trajectory_at_dreamx_pace(hyworld, tmp_path: Path):
    done = hyworld("trajectory", "wl-5, i-9", "--pace", "DreamX-World", "--json", "path.json")
    assert done.returncode == 0, done.stderr
    assert "15 latents: 5 chunks, 57 frames" in done.stdout
    assert "remembers 1-3, 7-12" in done.stdout
    assert json.loads((tmp_path / "path.json").read_text())["1"]["extrinsic"][2][3] == pytest.approx(0.075, rel=1e-3)
    again = hyworld("trajectory", "path.json", "--pace", "DreamX-World")
    assert again.stderr == ""
    assert "5 chunks" in again.stdout
    other = hyworld("trajectory", "path.json")
    assert "as made for DreamX-World, but WorldPlay was trained with 0.08" in other.stderr
    scaled = hyworld("trajectory", "path.json", "--pace", "DreamX-World", "--scale", "auto")
    assert "scaled by 1 to 0.3" in scaled.stderr


def test_a_name_taken_meanwhile_is_not_replaced(hyworld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """By another command, after this one saw that it was free."""

    def meanwhile(name: str, function: Callable[..., object]) -> Callable[..., object]:
        def called(*arguments: object, **options: object) -> object:
            (tmp_path / name).write_bytes(b"precious")
            return function(*arguments, **options)

        return called

    monkeypatch.setattr("hyworld.cli.trajectory.draw_top_down", meanwhile("trajectory.png", draw_top_down))
    done = hyworld("trajectory", "w-3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("map: trajectory-2.png\n")
    monkeypatch.setattr("hyworld.cli.trajectory.draw_top_down", meanwhile("map.png", draw_top_down))
    converting = import_module("hyworld.weights.convert")  # the package has a function of that name
    monkeypatch.setattr(converting, "data_bytes", meanwhile("dit.safetensors", data_bytes))
    for command in (
        ("trajectory", "w-3", "-o", "map.png"),
        ("convert", REFERENCE / "dit_weights.safetensors", "dit.safetensors"),
    ):
        done = hyworld(*command)
        assert done.returncode == 2
        assert "exists already" in done.stderr
    for name in ("trajectory.png", "map.png", "dit.safetensors"):
        assert (tmp_path / name).read_bytes() == b"precious"
    assert len(list(tmp_path.iterdir())) == 4


def test_verify_passes_on_the_reference_tensors(hyworld):
    done = hyworld("verify")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    summary = json.loads(lines[-1])
    assert summary["failed"] == summary["skipped"] == 0
    assert summary["passed"] == len(lines) - 1 > 50
    assert summary["worst"] < 1e-4
    assert all("PASS" in line for line in lines[:-1])


def test_verify_fails_on_tampered_tensors_and_counts_missing_files(hyworld, tmp_path: Path):
    folder = tmp_path / "reference"
    folder.mkdir()
    shutil.copy(REFERENCE / "dit_weights.safetensors", folder)
    forward = load_file(REFERENCE / "dit_forward.safetensors")
    forward["denoise.flow"][0, 0, 0, 0, 0] += 0.5
    save_file(forward, folder / "dit_forward.safetensors")
    shutil.copy(REFERENCE / "trajectories.json", folder)
    labels = json.loads((folder / "trajectories.json").read_text())
    labels[0]["action"][3] += 1
    (folder / "trajectories.json").write_text(json.dumps(labels))
    done = hyworld("verify", folder)
    assert done.returncode == 1
    failed = [line.split()[0] for line in done.stdout.splitlines() if "FAIL" in line]
    assert failed == ["trajectory.0.action", "dit.denoise.flow"]
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["failed"], summary["skipped"]) == (2, 6)


def test_verify_survives_a_broken_file(hyworld, tmp_path: Path):
    (tmp_path / "prope.safetensors").write_bytes(b"broken")
    done = hyworld("verify", tmp_path)
    assert done.returncode == 1
    assert "FAIL" in done.stdout


@pytest.mark.parametrize("folder", ["missing", "."])
def test_verify_of_nothing_is_the_users_error(hyworld, folder: str):
    done = hyworld("verify", folder)
    assert done.returncode == 2
    assert "error: " in done.stderr


def test_convert_writes_what_generate_loads(hyworld, tmp_path: Path):
    done = hyworld("convert", REFERENCE / "dit_weights.safetensors", "dit.safetensors", "--dtype", "bf16")
    assert done.returncode == 0, done.stderr
    with safe_open(tmp_path / "dit.safetensors", "pt") as file:
        assert "blocks.0.self_attn.o_prope.weight" in file.keys()  # noqa: SIM118
    again = hyworld("convert", REFERENCE / "dit_weights.safetensors", "dit.safetensors")
    assert again.returncode == 2
    assert "--overwrite" in again.stderr


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("none.pt", ("out.safetensors",), "none.pt"),
        (REFERENCE / "model.pt", ("out.pt",), r".safetensors"),
        (REFERENCE / "model.pt", ("none/out.safetensors",), "folder none does not exist"),
        (REFERENCE / "model.pt", ("out.safetensors", "--dtype", "int4"), "int4"),
        (REFERENCE / "vae_weights_native.safetensors", ("out.safetensors", "--dtype", "fp8"), "is a VAE"),
    ],
)
def test_convert_refuses_in_one_line(hyworld, tmp_path: Path, source: object, options: tuple[str, ...], message: str):
    done = hyworld("convert", source, *options)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--json", "none/path.json"), "folder none does not exist"),
        (("--json", "path.txt"), ".json"),
        (("-o", "map.txt"), ".png"),
        (("-o", "none/map.png"), "folder none does not exist"),
        (("--export", "walk.bvh"), "does not say which format to write"),
        (("--export", "none/walk.npz"), "folder none does not exist"),
        (("--size", "big", "--export", "walk.npz"), "The size must be height x width"),
        (("--scale", "2"), "leave out fps and scale"),
        (("--scale", "fast"), "The scale must be"),
        (("--fps", "24"), "leave out fps and scale"),
        (("--every-frame",), "add --export"),
        (("--every-frame", "--export", "path.json"), "one pose per latent and none per frame"),
    ],
)
def test_trajectory_writes_both_files_or_none(hyworld, tmp_path: Path, options: tuple[str, ...], message: str):
    done = hyworld("trajectory", "w-3", *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_arguments_show_the_help(hyworld):
    assert hyworld().stdout == hyworld("--help").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dance",), "No such command"),
        (("generate", "--velocity", "3"), "--velocity"),
        (("verify", "a", "b"), "argument"),
        (("convert", "a"), "target"),
    ],
)
def test_wrong_usage_is_one_line(hyworld, arguments: tuple[str, ...], message: str):
    done = hyworld(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "--help" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_interrupt_while_torch_is_imported_is_one_line(tmp_path: Path):
    """Nothing that takes long may be imported before `main` can answer; and what is imported may swallow exceptions."""
    (tmp_path / "torch.py").write_text(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept BaseException:\n    pass\n"
    )
    process = subprocess.run(
        [sys.executable, "-m", "hyworld.cli.main", "generate"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(Path(__file__).parents[2])))},
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.returncode == 1
    assert process.stderr == "error: interrupted\n"


def test_convert_takes_the_released_pickle(hyworld, tmp_path: Path):
    done = hyworld("convert", REFERENCE / "model.pt", "model.safetensors", "--dtype", "fp32")
    assert done.returncode == 0, done.stderr
    assert "106 tensors" in done.stdout
    got = load_file(tmp_path / "model.safetensors")
    want = dit_to_native(load_file(REFERENCE / "dit_weights.safetensors"))
    assert got.keys() == want.keys()
    assert all(torch.equal(got[name], want[name]) for name in want)


def test_a_small_model_runs_from_its_files(hyworld, tmp_path: Path):
    """Every file option at once: pickle, VAE, embeddings; the head size comes from the option."""
    save_file({"text": torch.randn(16, 24)}, tmp_path / "text.safetensors")
    files = ("--weights", REFERENCE / "model.pt", "--vae", REFERENCE / "vae_weights_native.safetensors")
    options = ("--text-encoder", "text.safetensors", "--pose", "w-7", "--size", "64x96", "--output", "a.mp4")
    unknown = hyworld("generate", *files, *options)
    assert unknown.returncode == 2
    assert "--head-dim" in unknown.stderr
    done = hyworld("generate", *files, *options, "--head-dim", 32)
    assert done.returncode == 0, done.stderr
    assert "29 frames" in done.stdout
