"""Saved worlds and new words on the way, on the command line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import hyworld as engine
from hyworld import InputError, World
from hyworld.sheet import small
from hyworld.text import ByteTextEncoder
from hyworld.video import VideoWriter
from hyworld.walk import Chunk, file
from hyworld.walk.autosave import Autosave

from .conftest import in_folder
from .test_generate import frames_of

MODEL = ("--preset", "tiny-random", "--device", "cpu", "--dtype", "float32")
NEW = ("generate", *MODEL, "--size", "64x96")
POSE = "w-3, right-20, w+left-8"
WORDS = ("--prompt", "a quiet street", "--prompt", "5: it starts to rain")


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the worlds of one walk, after 3 chunks and after 8, and the second's video."""
    folder = tmp_path_factory.mktemp("worlds")
    with in_folder(folder) as hyworld:
        for chunks, name in ((3, "three"), (8, "eight")):
            made = ("--chunks", chunks, "--save-world", f"{name}.world", "-o", f"{name}.mp4")
            done = hyworld(*NEW, "--pose", POSE, *WORDS, *made)
            assert done.returncode == 0, done.stderr
    return folder


def in_new_process(folder: Path, *arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hyworld.cli.main", *map(str, arguments)],
        cwd=folder,
        # The bits depend on the number of threads.
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def test_a_walk_in_parts_is_the_walk_bit_for_bit(hyworld, worlds: Path, tmp_path: Path):
    """8 chunks = 3 + 5 in another process = rewound to 3, and 5 again = the same command with --resume."""
    whole = World.load(worlds / "eight.world")
    onwards = (*MODEL, "--pose", "right-12, w+left-8", "--prompt", "5: it starts to rain")
    in_new_process(
        tmp_path, "generate", *onwards, "--world", worlds / "three.world", "--save-world", "a.world", "-o", "a.mp4"
    )
    for name, command in {
        "b": ("generate", *onwards, "--world", worlds / "eight.world", "--from-chunk", 3),
        "c": (*NEW, "--pose", POSE, *WORDS, "--chunks", 8, "--resume", worlds / "three.world"),
    }.items():
        done = hyworld(*command, "--save-world", f"{name}.world", "-o", f"{name}.mp4")
        assert done.returncode == 0, done.stderr
        assert "80 frames" in done.stdout
        assert "the world with 8 chunks" in done.stdout
    pipeline = engine.load(preset="tiny-random", device="cpu", dtype="float32")
    frames = torch.cat([chunk.frames for chunk in pipeline.replay(whole)])
    for name in "abc":
        world = World.load(tmp_path / f"{name}.world")
        assert torch.equal(world.latents, whole.latents)
        assert [step.words.prompt for step in world.history] == ["a quiet street"] * 5 + ["it starts to rain"] * 3
        assert np.allclose(world.path.c2w, whole.path.c2w, rtol=0, atol=1e-12)
        assert torch.equal(torch.cat([chunk.frames for chunk in pipeline.replay(world)]), frames)
        assert len(frames_of(tmp_path / f"{name}.mp4")) == 80, "the video has the new frames alone"
    assert World.load(tmp_path / "c.world") == whole, "cameras too"
    film = np.stack(frames_of(worlds / "eight.mp4"))
    assert np.array_equal(np.stack(frames_of(tmp_path / "a.mp4")), film[45:])


def test_words_stay_the_worlds_unless_new_ones_are_given(hyworld, worlds: Path, tmp_path: Path):
    (tmp_path / "words.txt").write_text("# as before\n0: a quiet street\n4: night falls\n")
    for name, words in {"own": (), "new": ("--prompt", "snow"), "file": ("--prompts", "words.txt")}.items():
        walk = ("generate", "--world", worlds / "three.world", "--pose", "w-8", *words)
        done = hyworld(*walk, "--save-world", f"{name}.world")
        assert done.returncode == 0, done.stderr
    told = {name: [step.words.prompt for step in load(tmp_path / name).history[3:]] for name in ("own", "new", "file")}
    assert told == {
        "own": ["a quiet street"] * 2,
        "new": ["snow"] * 2,
        "file": ["a quiet street", "night falls"],
    }
    pictures = [load(tmp_path / name).latents for name in told]
    assert not torch.equal(pictures[0], pictures[1])
    assert torch.equal(pictures[0][:, :, :16], pictures[2][:, :, :16])


def load(path: Path) -> World:
    return World.load(path.with_suffix(".world"))


def test_a_prompt_after_the_end_is_said_and_the_default_path_fits(hyworld, worlds: Path):
    done = hyworld("generate", "--world", worlds / "three.world", "--chunks", 1, "--prompt", "9: rain", "--seed", 3)
    assert done.returncode == 0, done.stderr
    assert "note: the walk ends when the world has 4 chunks: the prompt for 9 is not told" in done.stderr
    assert "1 chunk, seed 3" in done.stdout


def test_another_seed_branches(hyworld, worlds: Path, tmp_path: Path):
    walk = ("generate", "--world", worlds / "eight.world", "--from-chunk", 3, "--pose", "right-4")
    for name, extra in {"a": (), "b": ("--seed", 0), "c": ("--seed", 1)}.items():
        assert hyworld(*walk, *extra, "--save-world", f"{name}.world").returncode == 0
    a, b, c = (load(tmp_path / name) for name in "abc")
    assert a == b
    assert torch.equal(a.latents[:, :, :12], c.latents[:, :, :12])
    assert not torch.equal(a.latents[:, :, 12:], c.latents[:, :, 12:])


def test_a_world_of_another_model_is_refused_unless_asked(hyworld, worlds: Path, tmp_path: Path):
    world = World.load(worlds / "three.world")
    replace(world, network=tuple(-number for number in world.network)).save(tmp_path / "other.world")
    walk = ("generate", "--world", "other.world", "--pose", "w-4")
    done = hyworld(*walk)
    assert done.returncode == 2
    assert "was not made by a built-in model: add --weights" in done.stderr
    done = hyworld(*walk, *MODEL)
    assert done.returncode == 2
    assert re.search("made by another network of the same size.*any_model", done.stderr)
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["other.world"]
    done = hyworld(*walk, *MODEL, "--any-model")
    assert done.returncode == 0, done.stderr


REFUSED = {
    "a picture": (("--world", "three.world", "--image", "a.png"), "--image does not go with --world"),
    "a size": (("--world", "three.world", "--size", "64x96"), "--size does not go with --world"),
    "a crop": (("--world", "three.world", "--crop", "center"), "--crop does not go with --world"),
    "no world": (("--world", "absent.world"), "There is no world to read at absent.world"),
    "no chunk": (("--world", "three.world", "--from-chunk", 4), "go back to 0 to 3, not 4"),
    "rewinding nothing": (("--from-chunk", 4), "--from-chunk is for a saved world: give it with --world"),
    "any model for nothing": (("--any-model",), "--any-model is for a saved world"),
    "a short path": (("--world", "three.world", "--pose", "w-3"), "has 3 latents, but one chunk takes 4"),
    "a taken name": (("--save-world", "three.world"), "three.world exists already"),
    "another ending": (("--save-world", "a.mp4", "-o", "b.mp4"), "a.mp4 must be a file name that ends in .world"),
    "no folder": (("--save-world", "none/a.world"), "folder none does not exist"),
    "two prompts": (("--prompt", "a", "--prompt", "b"), "two prompts for 0 chunks, the second is 'b'"),
    "a negative number": (("--prompt", "-2: b"), "is for -2 chunks"),
    "no words": (("--prompt", "2: "), "has no words"),
    "prompts twice": (("--prompt", "a", "--prompts", "words.txt"), "give either --prompt or --prompts"),
    "no file of prompts": (("--prompts", "words.txt"), "words.txt cannot be read"),
    "not of this walk": ((*NEW[1:], "--pose", POSE, "--resume", "three.world"), "holds no beginning of this walk"),
    "no walk left": (
        (*NEW[1:], "--pose", POSE, *WORDS, "--chunks", "3", "--resume", "three.world"),
        "holds the whole walk already",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_is_refused_in_a_line(hyworld, worlds: Path, tmp_path: Path, case: str):
    (tmp_path / "three.world").write_bytes((worlds / "three.world").read_bytes())
    arguments, message = REFUSED[case]
    done = hyworld("generate", *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["three.world"]


def test_a_world_is_saved_on_the_way_and_only_kept_after_a_failure(
    hyworld, worlds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    walk = (*NEW, "--pose", POSE, *WORDS, "--chunks", 8, "--autosave", 2)
    write, seen = VideoWriter.write, []

    def until_seven(self: VideoWriter, frames: torch.Tensor) -> None:
        write(self, frames)
        seen.append(sorted(path.name for path in tmp_path.glob("*.part*.world")))
        if len(seen) == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(VideoWriter, "write", until_seven)
    done = hyworld(*walk)
    assert done.returncode == 1
    assert seen[0] == []
    assert seen[4] == ["walk.part.world"]
    assert "walk.part.world holds the world with 7 chunks: add --resume walk.part.world to the same" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"walk.mp4", "walk.part.world"}
    whole = World.load(worlds / "eight.world")
    assert World.load(tmp_path / "walk.part.world") == whole.at_chunk(7).told(whole.history[6].words)
    assert file.thumbnail(tmp_path / "walk.part.world") is not None

    monkeypatch.setattr(VideoWriter, "write", write)
    done = hyworld(*walk, "--resume", "walk.part.world", "--save-world", "whole.world")
    assert done.returncode == 0, done.stderr
    assert World.load(tmp_path / "whole.world") == whole
    assert "note: walk.part.world has the first 7 chunks of this walk; the rest is made" in done.stderr
    assert len(frames_of(tmp_path / "walk-2.mp4")) == 16
    assert (tmp_path / "whole.world").stat().st_mode == (tmp_path / "walk-2.mp4").stat().st_mode
    assert {path.name for path in tmp_path.iterdir()} == {"walk.mp4", "walk.part.world", "walk-2.mp4", "whole.world"}


@pytest.mark.parametrize("every", [0, 2])
def test_a_short_walk_or_autosave_off_keeps_no_world(
    hyworld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
):
    write = VideoWriter.write

    def once(self: VideoWriter, frames: torch.Tensor) -> None:
        write(self, frames)
        raise KeyboardInterrupt

    monkeypatch.setattr(VideoWriter, "write", once)
    assert hyworld(*NEW, "--pose", "w-7", "--autosave", every).returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == ["walk.mp4"]


def test_a_saved_world_is_kept_when_the_walk_is_interrupted(hyworld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write = VideoWriter.write

    def once(self: VideoWriter, frames: torch.Tensor) -> None:
        write(self, frames)
        raise KeyboardInterrupt

    monkeypatch.setattr(VideoWriter, "write", once)
    done = hyworld(*NEW, "--pose", "w-7", "--save-world", "a.world")
    assert "a.world holds the world with 1 chunk:" in done.stderr
    assert World.load(tmp_path / "a.world").chunks == 1


def test_a_world_whose_name_was_taken_meanwhile_is_kept(hyworld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write = VideoWriter.write

    def taken(self: VideoWriter, frames: torch.Tensor) -> None:
        write(self, frames)
        (tmp_path / "a.world").write_bytes(b"precious")

    monkeypatch.setattr(VideoWriter, "write", taken)
    done = hyworld(*NEW, "--pose", "w-3", "--save-world", "a.world")
    assert done.returncode == 2
    assert "a.world exists already" in done.stderr
    assert "This world is kept as walk.part.world." in done.stderr
    assert "--resume" not in done.stderr
    assert (tmp_path / "a.world").read_bytes() == b"precious"
    assert World.load(tmp_path / "walk.part.world").chunks == 1
    assert len(frames_of(tmp_path / "walk.mp4")) == 13


def test_what_is_in_a_world(hyworld, worlds: Path, tmp_path: Path):
    done = hyworld(
        "world", worlds / "eight.world", "--map", "map.png", "--sheet", "sheet.png", "--video", "a.mp4", *MODEL[2:]
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith("eight.world: 8 chunks, 125 frames (7.8 s at 16 fps), 64x96, seed 0")
    assert lines[1:6] == [
        "path: w-3, right-20, w+left-8",
        "words, by the number of chunks the world then had:",
        "  0: a quiet street",
        "  5: it starts to rain",
        "model: tiny-random",
    ]
    assert Image.open(tmp_path / "map.png").size == (640, 640)
    assert np.array_equal(np.stack(frames_of(tmp_path / "a.mp4")), np.stack(frames_of(worlds / "eight.mp4")))
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.size[0] > 288 * 3
    pipeline = engine.load(preset="tiny-random", device="cpu", dtype="float32")
    first = next(pipeline.replay(World.load(worlds / "eight.world")))
    corner = sheet.crop((16, 16, 16 + 288, 16 + 192))
    assert np.array_equal(np.asarray(corner), np.asarray(small(Image.fromarray(first.frames[-1].numpy()))))


def test_words_listed_are_words_read(hyworld, worlds: Path, tmp_path: Path):
    listed = hyworld("world", worlds / "eight.world").stdout.splitlines()[3:5]
    (tmp_path / "words.txt").write_text("\n".join(listed))
    assert engine.prompts.read_prompts(tmp_path / "words.txt") == {0: "a quiet street", 5: "it starts to rain"}


def test_a_world_from_elsewhere_is_told_apart_and_sends_no_control_codes(hyworld, worlds: Path, tmp_path: Path):
    world = World.load(worlds / "three.world")
    strange = tuple(replace(step, words=step.words._replace(prompt="a\x1b[31m\ud800 b")) for step in world.history)
    other = replace(world, network=tuple(-number for number in world.network), vae=(1.0, 2.0), history=strange)
    other.save(tmp_path / "other.world")
    done = hyworld("world", "other.world")
    assert done.returncode == 0, done.stderr
    assert "  0: a [31m b" in done.stdout.splitlines()
    assert "model: none of the built-in ones; 24 latent channels, prompts of 64 numbers" in done.stdout
    done = hyworld("world", "other.world", "--sheet", "a.png")
    assert done.returncode == 2
    assert "was not made with a built-in VAE: add --vae" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["other.world"]


def test_files_that_tell_the_model(hyworld, worlds: Path):
    files = engine.builtin.FOLDER
    done = hyworld("world", worlds / "three.world", "--weights", files / "tiny_world.safetensors")
    assert re.search("model: not .*tiny_world.safetensors, but another of its size", done.stdout)
    done = hyworld("world", worlds / "three.world", "--sheet", "a.png", "--vae", files / "tiny_world_vae.safetensors")
    assert done.returncode == 2
    assert "was made with another VAE" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--map", "a.txt"), ".png"),
        (("--sheet", "none/a.png"), "folder none does not exist"),
        (("--video", "a.gif"), ".mp4"),
        (("--map", "a.png"), "has no chunks yet"),
    ],
)
def test_a_world_is_drawn_or_refused_in_a_line(
    hyworld, worlds: Path, tmp_path: Path, options: tuple[str, ...], message: str
):
    World.load(worlds / "three.world").at_chunk(0).save(tmp_path / "new.world")
    done = hyworld("world", "new.world", *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["new.world"]
    assert hyworld("world", "new.world").stdout.startswith("new.world: 0 chunks, 0 frames")


def test_saving_does_not_hold_up_the_walk(tmp_path: Path, worlds: Path, monkeypatch: pytest.MonkeyPatch):
    """A disk that takes half a second for each world."""
    save, saved = file.save, []

    def slowly(world: World, path: Path, **options: object) -> Path:
        time.sleep(0.5)
        saved.append(world.chunks)
        return save(world, path, **options)

    monkeypatch.setattr(file, "save", slowly)
    whole = World.load(worlds / "eight.world")
    began = time.monotonic()
    with Autosave(tmp_path / "a.part.world", every=2) as autosave:
        for n in range(8):
            autosave.keep(Chunk(n, None, whole.at_chunk(n + 1)))
        held_up = time.monotonic() - began
        assert autosave.path is None
    assert held_up < 0.4
    assert saved[0] == 2
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_crash_left_is_not_replaced(tmp_path: Path, worlds: Path):
    (tmp_path / "a.part.world").write_bytes(b"precious")
    whole = World.load(worlds / "eight.world")
    with pytest.raises(KeyboardInterrupt), Autosave(tmp_path / "a.part.world", every=2) as autosave:
        for n in range(3, 8):
            autosave.keep(Chunk(n, None, whole.at_chunk(n + 1)))
        raise KeyboardInterrupt
    assert (tmp_path / "a.part.world").read_bytes() == b"precious"
    assert autosave.path == tmp_path / "a.part-2.world"
    assert autosave.chunks == World.load(autosave.path).chunks == 8
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_disk_is_said_once_and_the_walk_goes_on(
    tmp_path: Path, worlds: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
):
    def full(*_: object, **__: object) -> Path:
        raise InputError("There is no space.")

    monkeypatch.setattr(file, "save", full)
    whole = World.load(worlds / "eight.world")
    with Autosave(tmp_path / "a.part.world", every=1) as autosave:
        for n in range(3):
            autosave.keep(Chunk(n, None, whole.at_chunk(n + 1)))
            time.sleep(0.05)
    said = [str(warning.message) for warning in recwarn]
    assert said == ["There is no space. The walk goes on without saving it."]


def test_each_prompt_is_encoded_once(hyworld, worlds: Path, monkeypatch: pytest.MonkeyPatch):
    """The real text encoder is loaded for every prompt."""
    encode, asked = ByteTextEncoder.__call__, []
    monkeypatch.setattr(ByteTextEncoder, "__call__", lambda self, prompt: asked.append(prompt) or encode(self, prompt))
    assert hyworld(*NEW, "--pose", "w-7", "--prompt", "a", "--prompt", "1: b", "--prompt", "5: c").returncode == 0
    assert asked == ["a", "b"]
    told = ("--prompt", "2: a quiet street", "--prompt", "4: d")
    assert hyworld("generate", "--world", worlds / "three.world", "--pose", "w-8", *told).returncode == 0
    assert asked == ["a", "b", "d"]
