"""Worlds in files: the same world comes back, or one sentence."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hyworld import InputError, World
from hyworld.dit import WanDiT
from hyworld.vae import Wan22VAE
from hyworld.walk import Walker, Words
from hyworld.walk.decoding import Decoding
from hyworld.walk.file import thumbnail

from . import streaming
from .conftest import PARTS, PATH, POINTS, SIZE, TEXT, walker_for

RAIN = Words(TEXT + 1, "it starts to rain")
FIRST = torch.randn(1, 6, 1, *SIZE, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def world(model: WanDiT, vae: Wan22VAE) -> World:
    """Five chunks, of which the last three were told that it rains."""
    walker = walker_for(model, vae)
    start = replace(walker.begin(TEXT, prompt="a street", first_frame=FIRST, seed=5), network=(1.0, 2.0))
    return list(walker.walk(start, PATH, 5, words={2: RAIN}))[-1].world


@pytest.fixture
def file(world: World, tmp_path: Path) -> Path:
    return world.save(tmp_path / "street.world", thumbnail=Image.new("RGB", (640, 400), "red"))


def test_a_world_comes_back_as_it_was(world: World, file: Path) -> None:
    loaded = World.load(file)
    assert loaded == world
    assert loaded.history[0].words is not None
    assert [step.words.prompt for step in loaded.history] == ["a street"] * 2 + ["it starts to rain"] * 3
    assert loaded.prompt == "it starts to rain"
    assert loaded.history[0].words.text is loaded.history[1].words.text, "a text is read once"
    picture = thumbnail(file)
    assert picture is not None
    assert picture.size == (256, 160)


@pytest.mark.parametrize("chunks", [0, 1, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_future_is_the_same(
    model: WanDiT, vae: Wan22VAE, world: World, tmp_path: Path, chunks: int, dtype: torch.dtype
) -> None:
    walker = Walker(model.to(dtype), decoding=Decoding(vae), dtype=dtype, points=POINTS)
    start = replace(world.at_chunk(0), network=())
    walked = list(walker.walk(start, list(PARTS[:5])))
    here = walked[chunks - 1].world if chunks else start
    loaded = World.load(here.save(tmp_path / "here.world"))
    assert loaded == here
    fresh = Walker(model, decoding=Decoding(vae), dtype=dtype, points=POINTS)
    for again, before in zip(fresh.walk(loaded, list(PARTS[chunks:5])), walked[chunks:], strict=True):
        assert torch.equal(again.latents, before.latents)
        assert torch.equal(again.frames, before.frames)
    model.float()


def test_a_large_world_is_small_in_bfloat16(world: World, tmp_path: Path) -> None:
    half = replace(world, history=tuple(replace(step, latents=step.latents.bfloat16()) for step in world.history))
    sizes = [one.save(tmp_path / f"{i}.world").stat().st_size for i, one in enumerate((world, half))]
    assert sizes[0] - sizes[1] == world.latents.numel() * 2


def test_a_path_of_tokens_is_told(world: World, file: Path) -> None:
    with safe_open(file, "pt") as opened:
        about = json.loads(opened.metadata()["world"])
    assert about["path"] == "w-7, right-9, d-3"
    assert about["prompts"] == ["a street", "it starts to rain"]


def test_a_file_is_replaced_only_if_asked_and_never_in_part(
    world: World, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file.read_bytes()
    with pytest.raises(InputError, match="exists already"):
        world.save(file)
    monkeypatch.setattr("hyworld.walk.file.save_file", lambda tensors, part, metadata: fails(part))
    with pytest.raises(InputError, match="cannot be written"):
        world.save(file, overwrite=True)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["street.world"], "nothing half-written is left"


def fails(part: Path) -> None:
    part.write_bytes(b"half")
    raise OSError("No space left on device")


@pytest.fixture
def guided(tmp_path: Path) -> World:
    """A world that version 1 cannot hold."""
    walker = streaming.walker_for(streaming.RECIPES["channels"])
    return streaming.walked(walker, streaming.begun(walker), 2, words={1: streaming.RAIN})


def version_of(file: Path) -> str:
    with safe_open(file, "pt") as opened:
        return opened.metadata()["hyworld_world"]


def test_a_world_with_more_in_it_comes_back_as_it_was(guided: World, tmp_path: Path) -> None:
    file = guided.save(tmp_path / "guided.world")
    loaded = World.load(file)
    assert loaded == guided
    assert loaded.negative is not None
    assert (loaded.negative.prompt, loaded.spatial_stride, loaded.size) == ("words 2", 8, (32, 48))
    assert loaded.clip is not None
    assert loaded.first_frame.shape[2] == 2
    assert version_of(file) == "2"


@pytest.mark.parametrize("missing", ["negative", "clip", "first_frame"])
def test_what_a_world_does_not_have_is_not_in_its_file(guided: World, tmp_path: Path, missing: str) -> None:
    world = replace(guided, **{missing: None})
    assert World.load(world.save(tmp_path / "less.world")) == world


def test_a_world_of_worldplay_keeps_the_first_version(file: Path) -> None:
    """Older programs read it."""
    assert version_of(file) == "1"
    with safe_open(file, "pt") as opened:
        about = json.loads(opened.metadata()["world"])
        assert set(opened.keys()) == {
            *("latents", "first_frame", "c2w", "intrinsics", "labels", "memory", "text.0", "text.1", "thumbnail")
        }
    assert list(about) == [
        *("seed", "chunk_latents", "latent_shape", "memory", "prompts", "told", "next", "path", "network", "vae")
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, about, metadata: about.update(spatial_stride=0),
        lambda tensors, about, metadata: about.update(spatial_stride=None),
        lambda tensors, about, metadata: about.update(negative=3),
        lambda tensors, about, metadata: about.pop("negative"),
        lambda tensors, about, metadata: tensors.pop("negative"),
        lambda tensors, about, metadata: tensors.update(negative=poisoned(tensors["negative"])),
        lambda tensors, about, metadata: tensors.update(clip=tensors["clip"].double()),
        lambda tensors, about, metadata: tensors.update(clip=tensors["clip"][0].contiguous()),
        lambda tensors, about, metadata: tensors.update(first_frame=tensors["first_frame"][:, :5].contiguous()),
    ],
)
def test_a_damaged_file_of_the_second_version_is_refused_in_a_sentence(
    guided: World, tmp_path: Path, change: Callable[..., Any]
) -> None:
    file = rewritten(guided.save(tmp_path / "guided.world"), change)
    with pytest.raises(InputError, match=r"^guided.world is damaged or no world: save it again, or take a copy\.$"):
        World.load(file)


def rewritten(file: Path, change: Callable[[dict[str, Any], dict[str, Any], dict[str, str]], Any]) -> Path:
    """The file with its tensors, JSON and metadata changed."""
    with safe_open(file, "pt") as opened:
        metadata = dict(opened.metadata())
    tensors, about = load_file(file), json.loads(metadata["world"])
    change(tensors, about, metadata)
    if metadata.get("world"):
        metadata["world"] = json.dumps(about)
    save_file(tensors, file, metadata)
    return file


def put(name: str, tensor: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., None]:
    return lambda tensors, about, metadata: tensors.update({name: tensor(tensors[name])})


def say(name: str, value: Any) -> Callable[..., None]:
    return lambda tensors, about, metadata: about.update({name: value})


def poisoned(tensor: torch.Tensor) -> torch.Tensor:
    tensor.view(-1)[-1] = float("nan")
    return tensor


DAMAGED = [
    put("latents", poisoned),
    put("first_frame", poisoned),
    put("c2w", poisoned),
    put("c2w", lambda c2w: c2w * 2),
    put("intrinsics", poisoned),
    put("text.1", poisoned),
    put("latents", lambda latents: latents[:, :, :-1].contiguous()),
    put("latents", lambda latents: latents.double()),
    put("c2w", lambda c2w: c2w.float()),
    put("labels", lambda labels: labels + 81),
    put("memory", lambda memory: memory + 100),
    put("memory", lambda memory: memory.flip(0)),
    say("seed", -1),
    say("seed", "5"),
    say("seed", 2**64),
    say("chunk_latents", 0),
    say("latent_shape", [6, 4]),
    say("latent_shape", [6, 6, 4]),
    say("memory", [0, 4, 8, 12]),
    say("memory", None),
    say("told", [0, 0, 1, 1, 2]),
    say("next", 7),
    say("prompts", ["a street"]),
    say("prompts", {"0": 1}),
    say("path", 3),
    say("network", [float("nan")]),
    lambda tensors, about, metadata: tensors.pop("c2w"),
    lambda tensors, about, metadata: about.pop("told"),
    lambda tensors, about, metadata: metadata.update(hyworld_world="one"),
]


@pytest.mark.parametrize("change", DAMAGED)
def test_a_damaged_file_is_refused_in_a_sentence(file: Path, change: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match=r"^street.world is damaged or no world: save it again, or take a copy\.$"):
        World.load(rewritten(file, change))


def test_files_that_are_no_world(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"written by a newer version.*file format 3, this one reads up to 2"):
        World.load(rewritten(file, lambda tensors, about, metadata: metadata.update(hyworld_world="3")))
    save_file({"a": torch.zeros(1)}, tmp_path / "weights.world")
    with pytest.raises(InputError, match=r"weights\.world holds no world"):
        World.load(tmp_path / "weights.world")
    with pytest.raises(InputError, match=r"There is no world to read at .*absent\.world: No such file"):
        World.load(tmp_path / "absent.world")
    with pytest.raises(InputError):
        World.load(tmp_path)


@pytest.mark.parametrize("kept", [0, 7, 8, 100, -1])
def test_a_truncated_file_is_refused(file: Path, kept: int) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[:kept])
    with pytest.raises(InputError, match="damaged"):
        World.load(file)


def test_a_header_larger_than_the_file_or_any_world_is_refused(file: Path) -> None:
    for header in (2**63, 2**40, 5_000_000):
        file.write_bytes(header.to_bytes(8, "little") + b"{" + b" " * (6_000_000 if header == 5_000_000 else 10))
        with pytest.raises(InputError, match="damaged"):
            World.load(file)


def test_mutated_files_give_a_world_or_a_sentence(file: Path) -> None:
    whole = file.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    chance = random.Random(7)
    refused = whole_worlds = 0
    for _ in range(400):
        mutated = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            place = chance.randrange(header if chance.random() < 0.7 else len(whole))
            mutated[place] = chance.randrange(256)
        if chance.random() < 0.2:
            del mutated[chance.randrange(len(mutated)) :]
        file.write_bytes(mutated)
        try:
            whole_worlds += isinstance(World.load(file), World)
        except InputError as error:
            refused += "\n" not in str(error)
    assert refused + whole_worlds == 400
    assert refused > 100


def test_a_file_runs_no_code(file: Path) -> None:
    """A pickle that would run something is no safetensors file."""
    file.write_bytes(b"\x80\x04\x95(\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.")
    with pytest.raises(InputError, match="damaged"):
        World.load(file)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_loading_takes_at_most_twice_the_file(tmp_path: Path) -> None:
    script = Path(__file__).with_name("load_world.py")
    for act in ("save", "load"):
        run = subprocess.run([sys.executable, script, act, tmp_path], capture_output=True, text=True, timeout=120)
        assert run.returncode == 0, run.stderr
    size, grown = map(int, run.stdout.split())
    assert size > 50_000_000
    assert grown < 2 * size + 16_000_000
