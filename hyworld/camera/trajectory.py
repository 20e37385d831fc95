"""A camera path: one pose, one set of intrinsics and one action label per latent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..config import CHUNK_LATENTS, WAN_5B
from ..errors import InputError
from .actions import NUM_LABELS
from .actions import labels as labels_of
from .formats import called, colmap, names_file, read, read_data, write
from .pose_json import PoseData, default_intrinsics, poses_from_json, poses_to_json, read_json_text
from .poses import poses_of
from .recover import in_words
from .resample import to_frames, to_latents
from .shares import poses_of_actions
from .tokens import DEFAULT_SPEEDS, DREAMX_SPEEDS, Motion, Speeds, parse_tokens
from .units import scaled


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Cameras of N latents; immutable, the arrays are read-only.

    c2w: camera-to-world `[N, 4, 4]` float64 (x right, y down, z forward).
    intrinsics: `[N, 3, 3]` float64 in units of the picture's size (fx/2cx, fy/2cy, principal point 0.5).
    labels: action labels `[N]` int64, see `actions`.
    notes: for the user, on how the input was read.
    onwards: `c2w` of the same path where it goes on from another, if that differs (see `tokens.Speeds.steps`).
    chunk_latents: latents of a chunk of the model that it is made for; only counted with.
    """

    c2w: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    labels: NDArray[np.int64]
    notes: tuple[str, ...] = ()
    onwards: NDArray[np.float64] | None = None
    chunk_latents: int = CHUNK_LATENTS

    def __post_init__(self) -> None:
        n = len(self.c2w)
        for name, dtype, shape in (
            ("c2w", np.float64, (n, 4, 4)),
            ("intrinsics", np.float64, (n, 3, 3)),
            ("labels", np.int64, (n,)),
            ("onwards", np.float64, (n, 4, 4)),
        ):
            if getattr(self, name) is None:
                continue
            array = np.array(getattr(self, name), dtype=dtype)
            if array.shape != shape:
                raise ValueError(f"Trajectory.{name} must have the shape {shape}, got {array.shape}.")
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @classmethod
    def from_tokens(cls, text: str, speeds: Speeds = DEFAULT_SPEEDS, third_person: bool | None = None) -> Trajectory:
        """Path of pose tokens: N latents of motion give N + 1 poses, the first the identity; raises as `parse_tokens`.

        third_person: see `actions.labels`; by default on for a path with an orbit.
        """
        motions, notes = parse_tokens(text, speeds)
        return cls.of_motions(motions, speeds, third_person, notes)

    @classmethod
    def of_motions(
        cls, motions: Sequence[Motion], speeds: Speeds, third_person: bool | None = None, notes: tuple[str, ...] = ()
    ) -> Trajectory:
        """Path of the motions of N latents, otherwise as `from_tokens`."""
        if third_person is None:
            third_person = any(motion.orbit for motion in motions)
        c2w = poses_of(motions, speeds)
        onwards = None if speeds.steps == 1 else poses_of(motions, speeds, onwards=True)
        return cls(
            c2w, default_intrinsics(len(c2w)), labels_of(c2w, third_person), notes, onwards, speeds.chunk_latents
        )

    @classmethod
    def from_actions(cls, words: Sequence[str], shares: Sequence[float], pictures: int) -> Trajectory:
        """Path of so many pictures of DreamX-World's actions, see `shares`; raises as `shares.runs_of`."""
        c2w, onwards = (poses_of_actions(words, shares, pictures, onwards=later) for later in (False, True))
        n = DREAMX_SPEEDS.chunk_latents
        return cls(c2w, default_intrinsics(len(c2w)), labels_of(c2w), onwards=onwards, chunk_latents=n)

    @classmethod
    def from_json(cls, data: Mapping[str, object], third_person: bool = False) -> Trajectory:
        """Path of pose JSON, labelled from the poses unless they have a "label"; raises as `poses_from_json`."""
        return cls._from_poses(poses_from_json(data, "The camera path"), third_person)

    @classmethod
    def _from_poses(cls, poses: PoseData, third_person: bool, speeds: Speeds = DEFAULT_SPEEDS) -> Trajectory:
        labels = labels_of(poses.c2w, third_person) if poses.labels is None else poses.labels
        return cls(poses.c2w, poses.intrinsics, labels, poses.notes, poses.onwards, speeds.chunk_latents)

    @classmethod
    def from_json_text(
        cls,
        text: str,
        name: str = "The camera path",
        third_person: bool = False,
        speeds: Speeds = DEFAULT_SPEEDS,
    ) -> Trajectory:
        """Path of JSON text that errors call `name`, of any program in `formats`.

        speeds: of the model that it is for, whose chunks it is counted in.

        Raises `PoseError` for pose JSON, `InputError` for other programs' JSON.
        """
        poses = to_latents(read_data(read_json_text(text, name), name), name)
        return cls._from_poses(scaled(poses, name, speeds=speeds), third_person, speeds)

    @classmethod
    def from_colmap_text(
        cls, cameras: str, images: str, name: str, third_person: bool = False, speeds: Speeds = DEFAULT_SPEEDS
    ) -> Trajectory:
        """Path of COLMAP's cameras.txt and images.txt, one pose per latent; `speeds` as in `from_json_text`.

        Raises `InputError`.
        """
        poses = to_latents(colmap.read(cameras.splitlines(), images.splitlines(), name), name)
        return cls._from_poses(scaled(poses, name, speeds=speeds), third_person, speeds)

    @classmethod
    def from_text(cls, text: str, speeds: Speeds = DEFAULT_SPEEDS, third_person: bool | None = None) -> Trajectory:
        """Path of pose tokens or JSON text, never a file; raises as `from_tokens` and `from_json_text`."""
        if text.strip().startswith(("{", "[")):
            return cls.from_json_text(text, third_person=bool(third_person), speeds=speeds)
        return cls.from_tokens(text, speeds, third_person)

    @classmethod
    def load(
        cls,
        source: str,
        speeds: Speeds = DEFAULT_SPEEDS,
        third_person: bool | None = None,
        *,
        fps: float | None = None,
        scale: float | str = 1.0,
    ) -> Trajectory:
        """Path of pose tokens, JSON text, or a file or COLMAP folder (see `formats.files`).

        speeds: of tokens; a file's path is counted in chunks of the model that has them.
        fps: poses per second of a file, resampled to latents; None: the file's own times, else one pose per latent.
        scale: factor on a file's positions; "auto" brings the median motion per latent to that model's.

        Raises `InputError` if it is missing or malformed.
        """
        source = source.strip()
        if names_file(source):
            name = called(source)
            poses = read(source)
        elif source.startswith(("{", "[")):
            name = "The camera path"
            poses = read_data(read_json_text(source, name), name)
        elif fps is not None or scale != 1:
            raise InputError("A path of tokens has a pose per latent and the model's units: leave out fps and scale.")
        else:
            return cls.from_text(source, speeds, third_person)
        return cls._from_poses(scaled(to_latents(poses, name, fps), name, scale, speeds), bool(third_person), speeds)

    def __str__(self) -> str:
        counts = f"{_count(len(self), 'latent')}, {_count(self.chunks, 'chunk')}"
        return f"Path of {counts}: {in_words(self.c2w) or 'poses that no keys walk'}"

    def __len__(self) -> int:
        return len(self.c2w)

    def __getitem__(self, span: slice) -> Trajectory:
        """A slice, with the labels it has in the whole."""
        c2w, intrinsics, labels = self.c2w[span], self.intrinsics[span], self.labels[span]
        return replace(self, c2w=c2w, intrinsics=intrinsics, labels=labels, onwards=None)

    @property
    def viewmats(self) -> NDArray[np.float64]:
        """World-to-camera `[N, 4, 4]` float64."""
        return np.asarray(np.linalg.inv(self.c2w), np.float64)

    @property
    def chunks(self) -> int:
        """Number of whole chunks."""
        return len(self) // self.chunk_latents

    def bare(self) -> Trajectory:
        """The cameras alone, as a world keeps them."""
        return Trajectory(self.c2w, self.intrinsics, self.labels)

    def split(self, latents: int) -> list[Trajectory]:
        """Pieces of `latents` latents; a remainder is left out."""
        return [self[start : start + latents] for start in range(0, len(self) - latents + 1, latents)]

    def with_labels(self, labels: ArrayLike) -> Trajectory:
        """The same poses with action labels `[N]`; raises `InputError` unless there is one of 0..80 for each latent."""
        array = np.asarray(labels)
        if array.shape != (len(self),):
            raise InputError(
                f"The path has {len(self)} latents and needs one action label for each, got {array.size} labels."
            )
        if array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= NUM_LABELS:
            raise InputError(f"Action labels must be whole numbers from 0 to {NUM_LABELS - 1}, got {array.tolist()}.")
        return replace(self, labels=array)

    def join(self, other: Trajectory) -> Trajectory:
        """Append `other`'s motion to the last pose, without its first pose: `len(self) + len(other) - 1` latents.

        Poses that begin at the last pose already stay as they are, bit for bit.
        """
        then = other.c2w if other.onwards is None else other.onwards

        def joined(c2w: NDArray[np.float64]) -> NDArray[np.float64]:
            continued = then[1:]
            if not np.array_equal(c2w[-1], then[0]):
                continued = c2w[-1] @ np.linalg.inv(then[0]) @ continued
            return np.concatenate((c2w, continued))

        return Trajectory(
            joined(self.c2w),
            np.concatenate((self.intrinsics, other.intrinsics[1:])),
            np.concatenate((self.labels, other.labels[1:])),
            self.notes + other.notes,
            None if self.onwards is None else joined(self.onwards),
            self.chunk_latents,
        )

    def moved_to(self, pose: NDArray[np.float64]) -> Trajectory:
        """The same motion from another first pose, camera-to-world `[4, 4]`."""
        onwards = None if self.onwards is None else pose @ np.linalg.inv(self.onwards[0]) @ self.onwards
        return replace(self, c2w=pose @ np.linalg.inv(self.c2w[0]) @ self.c2w, onwards=onwards)

    def to_json(self) -> dict[str, dict[str, object]]:
        """Pose JSON for `from_json`; labels are written only if the poses do not imply them."""
        labels = self._own_labels()
        return poses_to_json(self.c2w, self.intrinsics, None if labels is None else labels.tolist())

    def save(
        self,
        target: str,
        *,
        size: tuple[int, int] = WAN_5B.size,
        every_frame: bool = False,
        overwrite: bool = False,
    ) -> list[Path]:
        """Write the path for another program, in the format that the name asks for (`formats.FORMATS`).

        size: height and width of the walk's frames.
        every_frame: a pose for each frame of the video instead of each latent; between latents they are interpolated.

        Returns the files. Raises `InputError` if one exists (without `overwrite`) or cannot be written.
        """
        poses = PoseData(self.c2w, self.intrinsics, self._own_labels())
        height, width = size
        return write(
            to_frames(poses) if every_frame else poses, target, height=height, width=width, overwrite=overwrite
        )

    def _own_labels(self) -> NDArray[np.int64] | None:
        """Labels, unless the poses imply them."""
        return None if np.array_equal(self.labels, labels_of(self.c2w)) else self.labels

    def require_chunks(self, n: int | None = None, latents: int | None = None, *, onwards: bool = False) -> Trajectory:
        """The first `n` chunks of `latents` latents (None or 0: all), with a note on what is left out.

        latents: of a chunk; default: those of the model that the path is made for.
        onwards: this is what follows the first pose of a path that goes on in a world; messages then say so.

        Raises `InputError` if the path is too short or `n` is negative.
        """
        if n is not None and n < 0:
            raise InputError(f"The number of chunks must be at least 0 (0 = as many as the path gives), got {n}.")
        latents = latents or self.chunk_latents
        chunks = len(self) // latents
        path = "The path"
        if onwards:
            path = "Without its first pose, which falls on the world's last latent, the path"
        if not chunks:
            raise InputError(
                f"{path} has {_count(len(self), 'latent')}, but one chunk takes {latents}: lengthen the path "
                f"by {_count(latents - len(self), 'latent')} or more."
            )
        n = n or chunks
        wanted = n * latents
        if n > chunks:
            raise InputError(
                f"{path} has {len(self)} latents, enough for {_count(chunks, 'chunk')} of {latents}, but "
                f"{n} chunks were asked for: lengthen the path by {_count(wanted - len(self), 'latent')} or ask for "
                f"fewer chunks."
            )
        if wanted == len(self):
            return self
        note = (
            f"{path} has {len(self)} latents; the first {wanted} ({_count(n, 'chunk')} of {latents}) are used "
            f"and the last {len(self) - wanted} left out."
        )
        return replace(self[:wanted], notes=(*self.notes, note))


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
