"""A world in a file: safetensors with JSON metadata.

Version 1 is what worlds of WorldPlay need. Version 2 has more, and is written only for worlds that need it.

| tensor | shape |
| --- | --- |
| latents | `[1, C, n, h, w]`, in the precision they were made in |
| first_frame | `[1, C, 1, h, w]` float32, absent without a first picture; version 2: any number of latents |
| c2w, intrinsics | `[n, 4, 4]`, `[n, 3, 3]` float64, in world coordinates |
| labels | `[n]` int64 |
| memory | `[m]` int64: the latents each chunk attended to, one chunk after another |
| text.0, text.1, … | `[1, L, text_dim]`: prompt embeddings |
| negative | version 2: the same of the negative prompt, if there is one |
| clip | version 2: `[1, K, clip_dim]`, if the picture has CLIP tokens |
| colours | version 2: `[chunks, 2, 3]` float32, see `Step.colours`, if there are any; -1 where there are none |
| thumbnail | `[bytes]` uint8, a JPEG; optional |

Metadata: `hyworld_world` is the version, `world` a JSON object (see `_About`). What can be made again is not in it:
decoder caches, keys and values.
"""

from __future__ import annotations

import io
import json
import math
import os
import struct
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..atomic import discard, publish, temporary_name
from ..camera import Trajectory
from ..camera.recover import tokens_of
from ..config import VAE_SPATIAL_STRIDE
from ..errors import InputError
from .world import Step, Words, World

VERSION = 2
SUFFIX = ".world"
THUMBNAIL_SIDE = 256

MOST_HEADER_BYTES = 1_000_000
"""Room for the names, shapes and metadata of 100,000 chunks; reading Python values takes several times as much."""

FLOATS = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class _About:
    """The JSON part of a file.

    seed, chunk_latents: whole numbers; latent_shape: (C, h, w).
    memory: how many latents each chunk attended to.
    prompts: the words of each text; told: for each chunk, the number of its text; next: that of the chunks to come.
    path: the walk as tokens, "" if it was not walked with tokens.
    network, vae: fingerprints.
    spatial_stride, negative: of version 2; the words of the negative prompt, None if there is none.
    """

    seed: int
    chunk_latents: int
    latent_shape: list[int]
    memory: list[int]
    prompts: list[str]
    told: list[int]
    next: int
    path: str
    network: list[float]
    vae: list[float]
    spatial_stride: int = VAE_SPATIAL_STRIDE
    negative: str | None = None


OF_VERSION_2 = ("spatial_stride", "negative")


def save(
    world: World,
    path: str | Path,
    *,
    thumbnail: Image.Image | None = None,
    overwrite: bool = False,
    or_next: bool = False,
) -> Path:
    """Write `world` to a file, which appears whole or not at all; returns its path.

    overwrite, or_next: if the name is taken, see `atomic.publish`.

    Raises `InputError` if the name is taken, or if the file cannot be written.
    """
    path = Path(path)
    texts: list[Words] = []
    told = [_number(texts, step.words or Words(world.text, world.prompt)) for step in world.history]
    after = _number(texts, Words(world.text, world.prompt))
    walked = world.path
    lengths = {step.latents.shape[2] for step in world.history}
    about = _About(
        seed=world.seed,
        chunk_latents=lengths.pop() if lengths else 0,
        latent_shape=list(world.latent_shape),
        memory=[len(step.memory_frames) for step in world.history],
        prompts=[words.prompt for words in texts],
        told=told,
        next=after,
        path=tokens_of(walked.c2w),
        network=list(world.network),
        vae=list(world.vae),
        spatial_stride=world.spatial_stride,
        negative=None if world.negative is None else world.negative.prompt,
    )
    version = 2 if _needs_version_2(world) else 1
    told_of = {name: value for name, value in asdict(about).items() if version > 1 or name not in OF_VERSION_2}
    tensors = {
        "latents": world.latents,
        "c2w": torch.from_numpy(walked.c2w.copy()),
        "intrinsics": torch.from_numpy(walked.intrinsics.copy()),
        "labels": torch.from_numpy(walked.labels.copy()),
        "memory": torch.tensor([i for step in world.history for i in step.memory_frames], dtype=torch.int64),
    }
    tensors |= {f"text.{i}": words.text.clone(memory_format=torch.contiguous_format) for i, words in enumerate(texts)}
    for name, tensor in _optional_tensors(world).items():
        tensors[name] = tensor.clone(memory_format=torch.contiguous_format)
    if thumbnail is not None:
        tensors["thumbnail"] = torch.frombuffer(bytearray(_jpeg(thumbnail)), dtype=torch.uint8)
    metadata = {"hyworld_world": str(version), "world": json.dumps(told_of)}
    part = temporary_name(path)
    try:
        part.touch()
        rights = part.stat().st_mode
        save_file(tensors, part, metadata)
        part.chmod(rights)  # safetensors leaves the file to its owner alone
        with part.open("r+b") as written:
            os.fsync(written.fileno())  # else a computer that crashes may have the name without the contents
        return publish(part, path, overwrite=overwrite, or_next=or_next)
    except (OSError, SafetensorError) as error:
        raise InputError(f"The world cannot be written to {path} ({error}): choose another place.") from error
    finally:
        discard(part)


def load(path: str | Path) -> World:
    """The world in a file.

    Takes no more memory than twice the file's size, runs nothing that is in it, and gives a whole world or none. Raises
    `InputError` in one sentence for a file that is missing, damaged, newer than this program or no world.
    """
    with _Opened(Path(path)) as opened:
        return opened.world()


def thumbnail(path: str | Path) -> Image.Image | None:
    """The picture in a world's file, if it has one; raises as `load`."""
    with _Opened(Path(path)) as opened:
        return opened.thumbnail()


class _Opened:
    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                head = file.read(8)
        except OSError as error:
            raise InputError(f"There is no world to read at {path}: {error.strerror or 'it is no file'}.") from None
        header = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        if not path.is_file() or header + 8 > size or header > MOST_HEADER_BYTES:
            raise self._damaged()
        try:
            self._file = safe_open(path, framework="pt")
        except (SafetensorError, OSError, ValueError):
            raise self._damaged() from None
        try:
            self._about = self._read_about()
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.__exit__(None, None, None)

    def world(self) -> World:
        try:
            return self._world()
        except (SafetensorError, ValueError, KeyError, TypeError, IndexError, OverflowError, RuntimeError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise self._damaged() from None

    def thumbnail(self) -> Image.Image | None:
        if "thumbnail" not in self._file.keys():  # noqa: SIM118 - not a dict
            return None
        try:
            data = self._file.get_tensor("thumbnail")
            picture = Image.open(io.BytesIO(data.numpy().tobytes()), formats=["JPEG"])
            if max(picture.size) > THUMBNAIL_SIDE:
                return None
            picture.load()
        except (SafetensorError, OSError, ValueError, TypeError, SyntaxError):
            return None
        return picture.convert("RGB")

    def _read_about(self) -> _About:
        metadata = self._file.metadata() or {}
        version = metadata.get("hyworld_world", "")
        if not version:
            raise InputError(f"{self.name} holds no world: give a file that Save World or --save-world wrote.")
        if not version.isdecimal() or len(version) > 9:
            raise self._damaged()
        self._version = int(version)
        if self._version > VERSION:
            raise InputError(
                f"{self.name} was written by a newer version of this program (file format {version}, this one reads up "
                f"to {VERSION}): update it."
            )
        known = [field.name for field in fields(_About) if self._version > 1 or field.name not in OF_VERSION_2]
        try:
            read = json.loads(metadata["world"])
            about = _About(**{name: read[name] for name in known})
        except (KeyError, TypeError, ValueError, RecursionError):
            raise self._damaged() from None
        if not _is_well_typed(about):
            raise self._damaged()
        return about

    def _world(self) -> World:
        about = self._about
        C, h, w = about.latent_shape
        n, chunks = about.chunk_latents, len(about.memory)
        latents = n * chunks
        self._expect("latents", (1, C, latents, h, w), FLOATS)
        c2w = self._array("c2w", (latents, 4, 4), torch.float64)
        intrinsics = self._array("intrinsics", (latents, 3, 3), torch.float64)
        labels = self._array("labels", (latents,), torch.int64)
        frames = self._array("memory", (sum(about.memory),), torch.int64).tolist()
        if not _are_poses(c2w) or (labels < 0).any() or (labels > 80).any():
            raise self._damaged()
        words = [Words(self._embeddings(f"text.{i}"), prompt) for i, prompt in enumerate(about.prompts)]
        path = Trajectory(c2w, intrinsics, labels)
        names = set(self._file.keys())
        colours: Tensor | None = None
        if self._version > 1 and "colours" in names:
            self._expect("colours", (chunks, 2, 3), (torch.float32,))
            colours = _finite(self._file.get_tensor("colours"))
        history, start = [], 0
        whole = self._file.get_slice("latents")
        for i, (count, told) in enumerate(zip(about.memory, about.told, strict=True)):
            remembered = tuple(frames[start : start + count])
            start += count
            if list(remembered) != sorted(set(remembered)) or any(not 0 <= j < i * n for j in remembered):
                raise self._damaged()
            piece = _finite(whole[:, :, i * n : (i + 1) * n].contiguous())
            shown = None if colours is None or (colours[i, 1] < 0).any() else colours[i].clone()
            history.append(Step(piece, path[i * n : (i + 1) * n], remembered, words[told], shown))
        first = None
        if "first_frame" in names:
            count = self._file.get_slice("first_frame").get_shape()[2] if self._version > 1 else 1
            self._expect("first_frame", (1, C, count, h, w), FLOATS)
            first = _finite(self._file.get_tensor("first_frame"))
        negative = None if about.negative is None else Words(self._embeddings("negative"), about.negative)
        clip = self._embeddings("clip") if self._version > 1 and "clip" in names else None
        after = words[about.next]
        return World(
            after.text,
            about.seed,
            (C, h, w),
            first,
            tuple(history),
            after.prompt,
            tuple(map(float, about.network)),
            tuple(map(float, about.vae)),
            negative,
            clip,
            about.spatial_stride,
        )

    def _embeddings(self, name: str) -> Tensor:
        shape = self._file.get_slice(name).get_shape()
        self._expect(name, (1, shape[1], shape[2]), FLOATS)
        return _finite(self._file.get_tensor(name))

    def _array(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> np.ndarray[Any, Any]:
        self._expect(name, shape, (dtype,))
        array: np.ndarray[Any, Any] = _finite(self._file.get_tensor(name)).numpy()
        return array

    def _expect(self, name: str, shape: tuple[int, ...], dtypes: tuple[torch.dtype, ...]) -> None:
        piece = self._file.get_slice(name)
        if tuple(piece.get_shape()) != shape or piece.get_dtype() not in {_NAMES[dtype] for dtype in dtypes}:
            raise self._damaged()

    def _damaged(self) -> InputError:
        return InputError(f"{self.name} is damaged or no world: save it again, or take a copy.")


_NAMES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
}


def _needs_version_2(world: World) -> bool:
    pictures = 1 if world.first_frame is None else world.first_frame.shape[2]
    plain = world.negative is None and world.clip is None and pictures == 1 and _colours(world) is None
    return not plain or world.spatial_stride != VAE_SPATIAL_STRIDE


def _optional_tensors(world: World) -> dict[str, Tensor]:
    negative = None if world.negative is None else world.negative.text
    tensors = {
        "first_frame": world.first_frame,
        "negative": negative,
        "clip": world.clip,
        "colours": _colours(world),
    }
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _colours(world: World) -> Tensor | None:
    """Of all chunks, -1 where there are none; None if there are none at all."""
    if all(step.colours is None for step in world.history):
        return None
    none = torch.full((2, 3), -1.0)
    return torch.stack([none if step.colours is None else step.colours for step in world.history])


def _number(texts: list[Words], words: Words) -> int:
    """The number of `words` among the texts, to which it is added if it is new."""
    for i, known in enumerate(texts):
        if known.prompt == words.prompt and (known.text is words.text or torch.equal(known.text, words.text)):
            return i
    texts.append(words)
    return len(texts) - 1


def _jpeg(picture: Image.Image) -> bytes:
    small = picture.convert("RGB")
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _finite(tensor: Tensor) -> Tensor:
    # Not isfinite, which takes memory of its own; NaN is both ends of what holds one.
    if tensor.numel() and not all(math.isfinite(end) for end in torch.aminmax(tensor)):
        raise ValueError("not finite")
    return tensor


def _are_poses(c2w: np.ndarray[Any, Any]) -> bool:
    """Whether these are rotations and translations, up to what float32 loses on the way."""
    rotation = c2w[:, :3, :3]
    return bool(
        np.allclose(c2w[:, 3], (0, 0, 0, 1))
        and np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(3), atol=1e-2)
        and (np.linalg.det(rotation) > 0).all()
    )


def _is_well_typed(about: _About) -> bool:
    def whole(value: object, least: int = 0, most: float = math.inf) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

    def each(values: object, fits: Any) -> bool:
        return isinstance(values, list) and all(map(fits, values))

    def number(value: object) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

    texts = len(about.prompts) if isinstance(about.prompts, list) else 0
    return (
        whole(about.seed, most=2**64 - 1)
        and whole(about.chunk_latents, most=1024)
        and each(about.latent_shape, lambda side: whole(side, 1, 1 << 16))
        and len(about.latent_shape) == 3
        and each(about.memory, lambda count: whole(count, most=1 << 20))
        and each(about.prompts, lambda prompt: isinstance(prompt, str))
        and each(about.told, lambda text: whole(text, most=texts - 1))
        and len(about.told) == len(about.memory)
        and (about.chunk_latents > 0 or not about.memory)
        and whole(about.next, most=texts - 1)
        and isinstance(about.path, str)
        and each(about.network, number)
        and each(about.vae, number)
        and whole(about.spatial_stride, 1, 1024)
        and isinstance(about.negative, (str, type(None)))
    )
