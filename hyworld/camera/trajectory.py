"""A camera path: one pose, one set of intrinsics and one action label per latent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..config import CHUNK_LATENTS
from ..errors import InputError
from .actions import NUM_LABELS
from .actions import labels as labels_of
from .pose_json import PoseData, normalised, poses_from_json, poses_to_json, read_file, read_json_text
from .poses import integrate
from .tokens import DEFAULT_SPEEDS, Speeds, parse_tokens

DEFAULT_FOCAL = 969.6969696969696
"""Pixels, both ways, in a 1920×1080 picture: the camera the model was trained with (89.4° × 58.2°)."""


def default_intrinsics(latents: int) -> NDArray[np.float64]:
    """Normalised intrinsics `[latents, 3, 3]` of the camera the model was trained with."""
    return np.tile(normalised(DEFAULT_FOCAL, DEFAULT_FOCAL, 960.0, 540.0), (latents, 1, 1))


@dataclass(frozen=True, eq=False)
class Trajectory:
    """N latents' cameras. An immutable value: the arrays are read-only.

    c2w: camera-to-world `[N, 4, 4]` float64 (x right, y down, z forward).
    intrinsics: `[N, 3, 3]` float64 in units of the picture's size (fx/2cx, fy/2cy, principal point 0.5).
    labels: action labels `[N]` int64, see `actions`.
    notes: what the user should know about how their input was read.
    """

    c2w: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    labels: NDArray[np.int64]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.c2w)
        for name, dtype, shape in (
            ("c2w", np.float64, (n, 4, 4)),
            ("intrinsics", np.float64, (n, 3, 3)),
            ("labels", np.int64, (n,)),
        ):
            array = np.array(getattr(self, name), dtype=dtype)
            if array.shape != shape:
                raise ValueError(f"Trajectory.{name} must have the shape {shape}, got {array.shape}.")
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @classmethod
    def from_tokens(cls, text: str, speeds: Speeds = DEFAULT_SPEEDS, third_person: bool | None = None) -> Trajectory:
        """Path of pose tokens (`w-3, w+right-4`): N latents of motion give N + 1 poses, the first the identity.

        third_person: how labels treat a latent that moves and turns, see `actions.labels`; None is on for a path
        with an orbit in it.

        Raises:
            InputError: see `parse_tokens`.
        """
        motions, notes = parse_tokens(text, speeds)
        if third_person is None:
            third_person = any(motion.orbit for motion in motions)
        c2w = integrate(motions, speeds.orbit_radius)
        return cls(c2w, default_intrinsics(len(c2w)), labels_of(c2w, third_person), notes)

    @classmethod
    def from_json(cls, data: Mapping[str, object], third_person: bool = False) -> Trajectory:
        """Path of pose JSON; labels follow from the poses unless the poses bring their own ("label").

        Raises:
            InputError: see `poses_from_json`.
        """
        return cls._from_poses(poses_from_json(data, "The camera path"), third_person)

    @classmethod
    def _from_poses(cls, poses: PoseData, third_person: bool) -> Trajectory:
        labels = labels_of(poses.c2w, third_person) if poses.labels is None else poses.labels
        return cls(poses.c2w, poses.intrinsics, labels)

    @classmethod
    def load(cls, source: str, speeds: Speeds = DEFAULT_SPEEDS, third_person: bool | None = None) -> Trajectory:
        """Path of pose tokens, of JSON text, or of a .json file.

        Raises:
            InputError: as `from_tokens` and `from_json`, and for files that are missing or not JSON.
        """
        source = source.strip()
        if source.startswith(("{", "[")):
            name = "The camera path"
            data = read_json_text(source, name)
        elif source.lower().endswith(".json"):
            name = f'The camera file "{source}"'
            data = read_json_text(read_file(source, name), name)
        else:
            return cls.from_tokens(source, speeds, third_person)
        return cls._from_poses(poses_from_json(data, name), bool(third_person))

    def __len__(self) -> int:
        return len(self.c2w)

    def __getitem__(self, span: slice) -> Trajectory:
        """The latents of a slice, with the labels they have in the whole."""
        return replace(self, c2w=self.c2w[span], intrinsics=self.intrinsics[span], labels=self.labels[span])

    @property
    def viewmats(self) -> NDArray[np.float64]:
        """World-to-camera `[N, 4, 4]` float64."""
        return np.asarray(np.linalg.inv(self.c2w), np.float64)

    @property
    def chunks(self) -> int:
        """Whole chunks the path is enough for."""
        return len(self) // CHUNK_LATENTS

    def chunk(self, i: int) -> Trajectory:
        """The 4 latents of chunk `i` (from 0)."""
        if not 0 <= i < self.chunks:
            raise IndexError(f"chunk {i} of a path with {self.chunks} chunks")
        return self[i * CHUNK_LATENTS : (i + 1) * CHUNK_LATENTS]

    def split(self, latents: int) -> list[Trajectory]:
        """Pieces of so many latents; what is left over at the end is left out."""
        return [self[start : start + latents] for start in range(0, len(self) - latents + 1, latents)]

    def with_labels(self, labels: ArrayLike) -> Trajectory:
        """The same path with other action labels `[N]`.

        Raises:
            InputError: not one label per latent, or not 0 to 80.
        """
        array = np.asarray(labels)
        if array.shape != (len(self),):
            raise InputError(
                f"The path has {len(self)} latents and needs one action label for each, got {array.size} labels."
            )
        if array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= NUM_LABELS:
            raise InputError(f"Action labels must be whole numbers from 0 to {NUM_LABELS - 1}, got {array.tolist()}.")
        return replace(self, labels=array)

    def join(self, other: Trajectory) -> Trajectory:
        """Go on with `other`'s motion from this path's last pose: `len(self) + len(other) - 1` latents.

        The other's poses are taken relative to its first, which coincides with this path's last and is dropped.
        """
        continued = self.c2w[-1] @ np.linalg.inv(other.c2w[0]) @ other.c2w[1:]
        return Trajectory(
            np.concatenate((self.c2w, continued)),
            np.concatenate((self.intrinsics, other.intrinsics[1:])),
            np.concatenate((self.labels, other.labels[1:])),
            self.notes + other.notes,
        )

    def to_json(self) -> dict[str, dict[str, object]]:
        """Pose JSON that `from_json` reads back; labels are written only where the poses do not imply them."""
        implied = np.array_equal(self.labels, labels_of(self.c2w))
        return poses_to_json(self.c2w, self.intrinsics, None if implied else self.labels.tolist())

    def require_chunks(self, n: int | None = None, latents: int = CHUNK_LATENTS) -> Trajectory:
        """The first `n` chunks of so many latents; None or 0 is as many as the path gives.

        What is left out is said in a note.

        Raises:
            InputError: the path is too short, or `n` is negative.
        """
        if n is not None and n < 0:
            raise InputError(f"The number of chunks must be at least 0 (0 = as many as the path gives), got {n}.")
        chunks = len(self) // latents
        if not chunks:
            raise InputError(
                f"The path has {_count(len(self), 'latent')}, but one chunk takes {latents}: lengthen the path "
                f"by {_count(latents - len(self), 'latent')} or more."
            )
        n = n or chunks
        wanted = n * latents
        if n > chunks:
            raise InputError(
                f"The path has {len(self)} latents, enough for {_count(chunks, 'chunk')} of {latents}, but "
                f"{n} chunks were asked for: lengthen the path by {_count(wanted - len(self), 'latent')} or ask for "
                f"fewer chunks."
            )
        if wanted == len(self):
            return self
        note = (
            f"The path has {len(self)} latents; the first {wanted} ({_count(n, 'chunk')} of {latents}) are used "
            f"and the last {len(self) - wanted} left out."
        )
        return replace(self[:wanted], notes=(*self.notes, note))


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
