"""The world as a value: everything that was generated, and all that is needed to go on from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from ..camera import Trajectory
from ..camera.recover import in_words
from ..config import VAE_SPATIAL_STRIDE, frames_in
from ..errors import InputError
from ..fingerprint import Fingerprint


class Words(NamedTuple):
    """What the network is told.

    text: prompt embeddings `[1, L, text_dim]`.
    prompt: the words they were made from; "" if not known.
    """

    text: Tensor
    prompt: str = ""


@dataclass(frozen=True, eq=False)
class Step:
    """One chunk of a world's history.

    latents: `[1, C, n, h, w]`, normalised, in the network's precision, in host memory.
    cameras: of those n latents, in world coordinates.
    memory_frames: indices of the latents this chunk attended to, ascending.
    words: what it was told; None if not known.
    colours: what the pictures after it are matched to, `[2, 3]`, see `colour`; None if no colours are matched.
    """

    latents: Tensor
    cameras: Trajectory
    memory_frames: tuple[int, ...]
    words: Words | None = None
    colours: Tensor | None = None

    @cached_property
    def viewmats(self) -> Tensor:
        """World-to-camera `[n, 4, 4]` float64."""
        return torch.from_numpy(self.cameras.viewmats)

    def __eq__(self, other: object) -> bool:
        return _same(self, other)

    def __hash__(self) -> int:
        return hash(self.memory_frames)


@dataclass(frozen=True, eq=False)
class World:
    """A world so far: an immutable value to keep, compare, branch from and walk on in.

    Worlds share the history they have in common. All tensors are in host memory; decoder caches, keys and values, which
    can be made again, are not part of it.

    text: prompt embeddings `[1, L, text_dim]`, for the chunks to come.
    seed: gives, with the chunk's index, the chunk's noise.
    latent_shape: (C, h, w) of a latent.
    first_frame: normalised latent `[1, C, 1, h, w]` of the first picture, or None; of a model that takes the picture as
        channels, the latents `[1, C, n, h, w]` of the picture and black frames after it.
    history: a `Step` per chunk.
    prompt: the words of `text`; "" if not known.
    network, vae: fingerprints of the models that made it.
    negative: what guidance leads away from, throughout the walk.
    clip: CLIP tokens `[1, K, clip_dim]` of the first picture, for models that read them.
    spatial_stride: pixels per latent cell.
    """

    text: Tensor
    seed: int
    latent_shape: tuple[int, int, int]
    first_frame: Tensor | None = None
    history: tuple[Step, ...] = ()
    prompt: str = ""
    network: Fingerprint = ()
    vae: Fingerprint = ()
    negative: Words | None = None
    clip: Tensor | None = None
    spatial_stride: int = VAE_SPATIAL_STRIDE

    @property
    def chunks(self) -> int:
        """Chunks generated so far."""
        return len(self.history)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the video in pixels."""
        return self.latent_shape[1] * self.spatial_stride, self.latent_shape[2] * self.spatial_stride

    @property
    def latents(self) -> Tensor:
        """Everything generated so far, `[1, C, n, h, w]`."""
        if not self.history:
            C, h, w = self.latent_shape
            return torch.zeros(1, C, 0, h, w)
        return torch.cat([step.latents for step in self.history], dim=2)

    @property
    def viewmats(self) -> Tensor:
        """World-to-camera `[n, 4, 4]` float64 of those latents."""
        return torch.cat([torch.zeros(0, 4, 4, dtype=torch.float64), *(step.viewmats for step in self.history)])

    @property
    def path(self) -> Trajectory:
        """The path walked so far, in world coordinates."""
        path = _together([step.cameras for step in self.history])
        return replace(path, chunk_latents=self.history[0].latents.shape[2]) if self.history else path

    def remembered(self, frames: tuple[int, ...]) -> tuple[Tensor, Trajectory]:
        """Latents `[1, C, K, h, w]` and cameras of the given indices; the rest of the history is not touched."""
        n = self.history[0].latents.shape[2]
        places = [(self.history[frame // n], frame % n) for frame in frames]
        latents = torch.cat([step.latents[:, :, i : i + 1] for step, i in places], dim=2)
        return latents, _together([step.cameras[i : i + 1] for step, i in places])

    @property
    def memory_frames(self) -> tuple[tuple[int, ...], ...]:
        """For each chunk, the latents it attended to."""
        return tuple(step.memory_frames for step in self.history)

    @property
    def video_frames(self) -> int:
        """Video frames generated so far."""
        return frames_in(sum(step.latents.shape[2] for step in self.history))

    def at_chunk(self, chunks: int) -> World:
        """This world when it had so many chunks, and the words it had then.

        Raises `InputError` unless that is 0 to `self.chunks`.
        """
        if not 0 <= chunks <= self.chunks:
            raise InputError(f"This world has {self.chunks} chunks: go back to 0 to {self.chunks}, not {chunks}.")
        then = replace(self, history=self.history[:chunks])
        words = self.history[chunks].words if chunks < self.chunks else None
        return then if words is None else then.told(words)

    def told(self, words: Words) -> World:
        """This world with other words for the chunks to come."""
        return replace(self, text=words.text, prompt=words.prompt)

    def onwards(self, path: Trajectory) -> Trajectory:
        """`path` from here: its first pose falls on the last latent's and is left out. In a new world it stays."""
        if not self.history or not len(path):
            return path
        return self.history[-1].cameras[-1:].join(path)[1:]

    def shared_with(self, start: World, parts: Sequence[Trajectory], words: Mapping[int, Words] | None = None) -> World:
        """The longest beginning of this world that a walk from `start` makes again, bit for bit; at least `start`.

        parts, words: of that walk, see `Walker.walk`; the parts in world coordinates.
        """
        if self.chunks < start.chunks or not _same(self.at_chunk(start.chunks).told(_words(start)), start):
            return start
        known = start
        for step, cameras in zip(self.history[start.chunks :], parts, strict=False):
            known = known.told(words_at(words, known.chunks) or _words(known))
            told = step.words is not None and _same(step.words.text, known.text)
            if not told or not _same(step.cameras, cameras.bare()):
                break
            known = known.and_then(step)
        return known if known.chunks > start.chunks else start

    def and_then(self, step: Step) -> World:
        """This world with one more chunk."""
        return replace(self, history=(*self.history, step))

    def __str__(self) -> str:
        height, width = self.size
        poses = self.path.c2w
        path = in_words(poses) if (poses != poses[:1]).any() else ""
        walked = f", {path}" if path else ""
        chunks = f"{self.chunks} chunk{'' if self.chunks == 1 else 's'}"
        return f"World of {chunks}, {self.video_frames} frames, {width}x{height}, seed {self.seed}{walked}"

    def save(self, path: str | Path, *, thumbnail: Image | None = None, overwrite: bool = False) -> Path:
        """Write this world to a file; see `file.save`."""
        from . import file

        return file.save(self, path, thumbnail=thumbnail, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> World:
        """The world in a file; see `file.load`."""
        from . import file

        return file.load(path)

    def __eq__(self, other: object) -> bool:
        return _same(self, other)

    def __hash__(self) -> int:
        return hash((self.seed, self.latent_shape, self.chunks))


@dataclass(frozen=True, eq=False)
class Chunk:
    """What one step of a walk gives.

    index: 0 for the first chunk of the world.
    frames: uint8 `[F, H, W, 3]` in host memory, 4 per latent (the world's first: 1); None without a decoder.
    world: the world with this chunk.
    """

    index: int
    frames: Tensor | None
    world: World

    @property
    def latents(self) -> Tensor:
        """The chunk's latents, see `Step`."""
        return self.world.history[-1].latents

    @property
    def memory_frames(self) -> tuple[int, ...]:
        """The latents this chunk attended to, see `Step`."""
        return self.world.history[-1].memory_frames


def words_at(words: Mapping[int, Words] | None, chunks: int) -> Words | None:
    """What a world with so many chunks is told, of words by the number of chunks from which on they hold."""
    begun = [chunk for chunk in words or {} if chunk <= chunks]
    return (words or {})[max(begun)] if begun else None


def told_by_chunk(world: World) -> dict[int, str]:
    """The prompts of a world by the number of chunks from which on they held, as `Pipeline.walk` takes them."""
    told: dict[int, str] = {}
    before: Words | None = None
    for chunks, words in enumerate([*(step.words for step in world.history), _words(world)]):
        if words is not None and (before is None or not _same(words, before)):
            told[chunks] = words.prompt
            before = words
    return told


def _words(world: World) -> Words:
    return Words(world.text, world.prompt)


def _together(paths: list[Trajectory]) -> Trajectory:
    return Trajectory(
        c2w=np.concatenate([np.zeros((0, 4, 4)), *(path.c2w for path in paths)]),
        intrinsics=np.concatenate([np.zeros((0, 3, 3)), *(path.intrinsics for path in paths)]),
        labels=np.concatenate([np.zeros(0, np.int64), *(path.labels for path in paths)]),
    )


def _same(a: Any, b: Any) -> bool:
    """Whether two values of this module hold the same numbers."""
    if a is b:
        return True
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, (World, Step, Trajectory)) and type(a) is type(b):
        return all(_same(getattr(a, field.name), getattr(b, field.name)) for field in fields(a))
    return type(a) is type(b) and bool(a == b)
