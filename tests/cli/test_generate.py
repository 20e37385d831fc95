"""`hyworld generate`, as a user runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from hyworld import Trajectory, World, pipeline
from hyworld.verify import REFERENCE

DIT, VAE = REFERENCE / "dit_weights.safetensors", REFERENCE / "vae_weights_native.safetensors"
SIZE = ("--size", "64x96")
SMALL = ("--preset", "tiny-random", *SIZE)


def frames_of(file: Path) -> list[np.ndarray]:
    with av.open(str(file)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_picture_prompt_and_every_token(hyworld, tmp_path: Path):
    Image.effect_noise((333, 777), 80).save(tmp_path / "photo.webp")
    pose = "w-2, s-1, a-1, d-1, up-1, down-1, left-1, right-1, w+right-1, a+up-1, orbit_left-1"
    done = hyworld("generate", "--image", "photo.webp", "--prompt", "a hall", "--pose", pose, *SMALL, "-o", "a.mp4")
    assert done.returncode == 0, done.stderr
    frames = frames_of(tmp_path / "a.mp4")
    assert len(frames) == 45
    assert frames[0].shape == (64, 96, 3)
    assert "45 frames" in done.stdout
    assert "3 chunks" in done.stdout


def test_json_path_and_default_names(hyworld, tmp_path: Path):
    (tmp_path / "path.json").write_text(json.dumps(Trajectory.from_tokens("w-3").to_json()))
    for name in ("walk.mp4", "walk-2.mp4"):
        done = hyworld("generate", "--pose", "path.json", *SMALL)
        assert done.returncode == 0, done.stderr
        assert len(frames_of(tmp_path / name)) == 13


def test_a_name_taken_while_it_walks_is_not_replaced(hyworld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Another walk, started a moment earlier, takes the name first."""
    load = pipeline.load

    def meanwhile(*arguments: object, **options: object) -> pipeline.Pipeline:
        for name in ("walk.mp4", "a.mp4"):
            (tmp_path / name).write_bytes(b"precious")
        return load(*arguments, **options)

    monkeypatch.setattr(pipeline, "load", meanwhile)
    default = hyworld("generate", "--pose", "w-3", *SMALL)
    assert default.returncode == 0, default.stderr
    assert default.stdout.startswith("walk-2.mp4: 13 frames")
    (tmp_path / "a.mp4").unlink()
    given = hyworld("generate", "--pose", "w-3", *SMALL, "-o", "a.mp4")
    assert given.returncode == 2
    assert "error: a.mp4 exists already" in given.stderr
    assert "kept as a.part.mp4" in given.stderr
    for name in ("walk.mp4", "a.mp4"):
        assert (tmp_path / name).read_bytes() == b"precious"
    for name in ("walk-2.mp4", "a.part.mp4"):
        assert len(frames_of(tmp_path / name)) == 13


def test_overwrite_concerns_a_given_name_only(hyworld, tmp_path: Path):
    for name in ("walk.mp4", "a.mp4"):
        (tmp_path / name).write_bytes(b"old")
    for extra in ((), ("-o", "a.mp4")):
        assert hyworld("generate", "--pose", "w-3", *SMALL, "--overwrite", *extra).returncode == 0
    assert (tmp_path / "walk.mp4").read_bytes() == b"old"
    for name in ("walk-2.mp4", "a.mp4"):
        assert len(frames_of(tmp_path / name)) == 13


def test_the_size_can_be_the_pictures_and_the_crop_is_chosen(hyworld, tmp_path: Path):
    Image.linear_gradient("L").convert("RGB").resize((640, 480)).save(tmp_path / "a.png")  # dark to bright, downwards
    walk = ("generate", "--preset", "tiny-random", "--pose", "w-3", "--image", "a.png")
    done = hyworld(*walk, "--size", "picture", "-o", "own.mp4")
    assert done.returncode == 0, done.stderr
    assert "192x256" in done.stdout
    films = {}
    for crop in ("center", "top"):
        done = hyworld(*walk, "--size", "32x96", "--crop", crop, "-o", f"{crop}.mp4")
        assert done.returncode == 0, done.stderr
        films[crop] = np.stack(frames_of(tmp_path / f"{crop}.mp4"))
    done = hyworld(*walk, "--size", "32x96", "-o", "default.mp4")
    assert np.array_equal(np.stack(frames_of(tmp_path / "default.mp4")), films["center"])
    assert not np.array_equal(films["top"], films["center"])


def test_the_seed_and_the_decoder_matter_and_nothing_else_does(hyworld, tmp_path: Path):
    options = {"a": (), "b": (), "c": ("--seed", 1), "d": ("--decoder", "tiny")}
    for name, extra in options.items():
        done = hyworld("generate", "--pose", "w-3", *SMALL, *extra, "-o", f"{name}.mp4")
        assert done.returncode == 0, done.stderr
    video = {name: np.stack(frames_of(tmp_path / f"{name}.mp4")) for name in options}
    assert np.array_equal(video["a"], video["b"])
    assert not np.array_equal(video["a"], video["c"])
    assert not np.array_equal(video["a"], video["d"])


@pytest.mark.parametrize(("number", "presses"), [(signal.SIGINT, 1), (signal.SIGINT, 3), (signal.SIGTERM, 1)])
def test_an_interrupt_leaves_a_playable_file(tmp_path: Path, number: int, presses: int):
    process = subprocess.Popen(
        [sys.executable, "-m", "hyworld.cli.main", "generate", "--pose", "w-4000", *SMALL, "-o", "a.mp4"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        # A job in the background is started with Ctrl-C ignored, and so would be all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 120
        # The temporary file has grown once the first chunks were encoded.
        while not any(part.stat().st_size > 20_000 for part in tmp_path.glob("*.part.mp4")):
            assert time.monotonic() < deadline, "no frames within two minutes"
            assert process.poll() is None
            time.sleep(0.1)
        for _ in range(presses):
            process.send_signal(number)
            time.sleep(0.02)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    if presses == 1:  # the last of several may meet a Python that is shutting down
        assert process.returncode == 1
        assert stderr.endswith("error: interrupted\n")
        assert "a.mp4 holds the" in stderr
        assert "Traceback" not in stderr
    frames = len(frames_of(tmp_path / "a.mp4"))
    assert frames >= 13
    assert {file.name for file in tmp_path.iterdir()} == {"a.mp4", "a.part.world"}
    # Interrupted between the two, a chunk may be in the world alone.
    assert (frames + 3) // 16 <= World.load(tmp_path / "a.part.world").chunks <= (frames + 3) // 16 + 1


def weights_cut_short(folder: Path) -> tuple[str, ...]:
    save_file({"patch_embedding.weight": torch.zeros(100, 100)}, folder / "cut.safetensors")
    (folder / "cut.safetensors").write_bytes((folder / "cut.safetensors").read_bytes()[:5000])
    save_file({"x": torch.zeros(1)}, folder / "vae.safetensors")
    return ("--weights", "cut.safetensors", "--vae", "vae.safetensors")


def wan21_vae(folder: Path) -> tuple[str, ...]:
    state = {"conv1.weight": torch.zeros(32, 32, 1, 1, 1), "conv2.weight": torch.zeros(16, 16, 1, 1, 1)}
    state["decoder.conv1.weight"] = torch.zeros(384, 16, 3, 3, 3)
    state["encoder.conv1.weight"] = torch.zeros(96, 3, 3, 3, 3)
    save_file(state, folder / "vae21.safetensors")
    save_file({"x": torch.zeros(1)}, folder / "dit.safetensors")
    return ("--weights", "dit.safetensors", "--vae", "vae21.safetensors")


def with_json(data: object):
    def arguments(folder: Path) -> tuple[str, ...]:
        (folder / "bad.json").write_text(data if isinstance(data, str) else json.dumps(data))
        return ("--pose", "bad.json")

    return arguments


def poses(**changes: object) -> dict:
    data = Trajectory.from_tokens("w-3").to_json()
    data["2"] = {**data["2"], **changes}
    return data


def without_key() -> dict:
    data = poses()
    del data["1"]["K"]
    return data


SKEWED = [[1.0, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
NAN = [[float("nan"), 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
FAR = [[1, 0, 0, 1e300], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
NEEDLE = [[1e5, 0, 1e-5], [0, 900, 500], [0, 0, 1]]


def text_file(folder: Path) -> tuple[str, ...]:
    (folder / "photo.png").write_text("not a picture")
    return ("--image", "photo.png")


BAD_INPUT = {
    "missing weights": (("--weights", "none.safetensors", "--vae", "none.safetensors"), "none.safetensors"),
    "weights without vae": (("--weights", "none.safetensors"), "--vae"),
    "truncated weights": (weights_cut_short, "safetensors"),
    "wan 2.1 vae": (wan21_vae, "Wan 2.1"),
    "no picture": (("--image", "none.png"), "no picture at"),
    "unreadable picture": (text_file, "not a picture"),
    "malformed token": (("--pose", "w-8, right"), "right"),
    "unknown token": (("--pose", "w-8, jump-3"), "jump"),
    "empty path": (("--pose", " "), "path"),
    "no json file": (("--pose", "none.json"), "none.json"),
    "not json": (with_json("{"), "bad.json"),
    "json without a key": (with_json(without_key()), "K"),
    "non-rigid pose": (with_json(poses(extrinsic=SKEWED)), "rigid|rotation"),
    "nan pose": (with_json(poses(extrinsic=NAN)), "NaN|finite|number"),
    "path too short": (("--pose", "w-6", "--chunks", "4"), "7 latents"),
    "path under one chunk": (("--pose", "w-1"), "2 latents"),
    "size no multiple of 32": (("--size", "100x96"), "multiple of 32"),
    "size no size": (("--size", "big"), "704x1280"),
    "size of no picture": (("--size", "picture"), "--size picture is the shape of a picture: give one with --image"),
    "unknown crop": (("--crop", "middle"), "--crop"),
    "unknown device": (("--device", "cuda:77"), "cuda:77"),
    "unknown dtype": (("--dtype", "int3"), "int3"),
    "no Triton on a CPU": (("--kernels", "triton", "--device", "cpu"), "not for cpu"),
    "unknown decoder": (("--decoder", "huge"), "huge"),
    "no such folder": (("--output", "none/a.mp4"), "none"),
    "not an mp4": (("--output", "a.gif"), ".mp4"),
    "name too long": (("--output", "a" * 300 + ".mp4"), "too long"),
    "picture's name too long": (("--image", "a" * 300), "too long"),
    "unknown option": (("--velocity", "3"), "--velocity"),
    "no number": (("--seed", "seven"), "--seed"),
    "negative seed": (("--seed", "-1"), "--seed"),
    "empty size": (("--size", ""), "704x1280"),
    "superscript size": (("--size", "³²x³²"), "704x1280"),
    "side beyond the encoder": (("--size", "32x16416"), "16384"),
    "device without numbers": (("--device", "meta"), "meta"),
    "prompt that is no text": (("--prompt", "\udcff"), "UTF-8"),
    "position beyond float32": (with_json(poses(extrinsic=FAR)), "up to 1e"),
    "focal length beyond float32": (with_json(poses(K=NEEDLE)), "focal length"),
    "speed beyond float32": (("--move-speed", "1e300"), "1000"),
    "tiny decoder without the model": (("--tiny-decoder", "taew2_2.pth"), "--weights"),
    "no text encoder": (("--weights", DIT, "--vae", VAE), "--text-encoder"),
    "text encoder that is not there": (("--weights", DIT, "--vae", VAE, "--text-encoder", "umt5"), "umt5"),
    "tiny decoder that is not asked for": (
        ("--weights", DIT, "--vae", VAE, "--text-encoder", VAE, "--tiny-decoder", VAE),
        "--decoder tiny",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(hyworld, tmp_path: Path, case: str):
    arguments, message = BAD_INPUT[case]
    if callable(arguments):
        arguments = arguments(tmp_path)
    before = set(tmp_path.iterdir())
    done = hyworld("generate", *SIZE, *arguments)
    assert done.returncode == 2, done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert set(tmp_path.iterdir()) == before
