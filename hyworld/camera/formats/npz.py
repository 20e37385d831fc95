"""NumPy archives: `extrinsics_c2w` [N, 4, 4], `intrinsics` [N, 3, 3], [3, 3] or [N, 4], and perhaps `fps` or `labels`.

Focal lengths count in units of twice the principal point, so pixels and normalised numbers are read alike.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from math import prod
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ...config import FRAMES_PER_SECOND
from ...errors import InputError
from ..actions import NUM_LABELS
from ..pose_json import PoseData, extrinsic, pixel_intrinsics
from ..tokens import MAX_LATENTS

HEADER = 10_000
"""Bytes that the header of an array may have; NumPy reads no longer one either."""


def read(file: BinaryIO, name: str) -> PoseData:
    """Poses of an archive; raises `InputError` that begins with `name`.

    No array is unpacked before its size is known to be what its shape says.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            arrays = {key: _array(archive, key, name) for key in ("extrinsics_c2w", "intrinsics", "fps", "labels")}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"{name} is not a readable .npz archive ({error}).") from None
    poses, K, fps, labels = arrays.values()
    if poses is None or K is None:
        missing = "extrinsics_c2w" if poses is None else "intrinsics"
        raise InputError(
            f'{name} has no array "{missing}"; expected extrinsics_c2w [N, 4, 4] and intrinsics [N, 3, 3].'
        )
    n = len(poses) if poses.ndim else 0
    if poses.shape != (n, 4, 4) or not n:
        raise InputError(f"{name}: extrinsics_c2w must have the shape [N, 4, 4], got {list(poses.shape)}.")
    if K.shape not in ((n, 3, 3), (3, 3), (n, 4)):
        raise InputError(
            f"{name}: intrinsics must have the shape {[n, 3, 3]}, {[3, 3]} or {[n, 4]} (fx, fy, cx, cy) for its {n} "
            f"poses, got {list(K.shape)}."
        )
    if K.shape == (n, 4):
        fx, fy, cx, cy = K.T
        K = np.tile(np.eye(3), (n, 1, 1))
        K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2] = fx, fy, cx, cy
    c2w = np.stack([extrinsic(pose, f"{name}, pose {i}: extrinsics_c2w") for i, pose in enumerate(poses)])
    if K.ndim == 2:
        intrinsics = np.tile(pixel_intrinsics(K, f"{name}: intrinsics"), (n, 1, 1))
    else:
        intrinsics = np.stack([pixel_intrinsics(k, f"{name}, pose {i}: intrinsics") for i, k in enumerate(K)])
    return PoseData(c2w, intrinsics, _labels(labels, n, name), _seconds(fps, n, name))


def write(poses: PoseData) -> bytes:
    """An archive for `read`, with normalised intrinsics."""
    arrays: dict[str, Any] = {"extrinsics_c2w": poses.c2w, "intrinsics": poses.intrinsics}
    if poses.labels is not None:
        arrays["labels"] = poses.labels
    if poses.seconds is not None:
        arrays["fps"] = np.array(FRAMES_PER_SECOND)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _array(archive: zipfile.ZipFile, key: str, name: str) -> NDArray[np.float64] | None:
    """An array of numbers, or None if there is none of that name."""
    try:
        entry = archive.getinfo(f"{key}.npy")
    except KeyError:
        return None
    with archive.open(entry) as file:
        head = io.BytesIO(file.read(HEADER))
        try:
            shape, fortran, dtype = _header(head)
        except Exception as error:  # NumPy parses the header as Python, which fails in many ways
            raise InputError(f'{name}: "{key}" is not an array of NumPy ({error!s:.80}).') from None
        if len(shape) > 3 or min(shape, default=0) < 0:
            raise InputError(f'{name}: "{key}" must have up to 3 dimensions, got the shape {list(shape)!s:.80}.')
        if dtype.kind not in "fiu":
            raise InputError(f'{name}: "{key}" must hold numbers, got {dtype}.')
        if shape and shape[0] > MAX_LATENTS:
            raise InputError(f'{name}: "{key}" must hold at most {MAX_LATENTS} poses, got {shape[0]}.')
        nbytes = prod(shape) * dtype.itemsize
        if nbytes > MAX_LATENTS * 16 * 16 or head.tell() + nbytes != entry.file_size:
            raise InputError(f'{name}: "{key}" has {entry.file_size} bytes, which do not fit its shape {list(shape)}.')
        data = head.read() + file.read()
    if len(data) != nbytes:
        raise InputError(f'{name}: "{key}" ends too early; write the file again.')
    flat = np.frombuffer(data, dtype)
    return flat.reshape(shape, order="F" if fortran else "C").astype(np.float64)


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type."""
    version = npy.read_magic(file)
    if version == (1, 0):
        return npy.read_array_header_1_0(file)
    if version == (2, 0):
        return npy.read_array_header_2_0(file)
    raise ValueError(f"version {version[0]}.{version[1]} of its format")


def _seconds(fps: NDArray[np.float64] | None, n: int, name: str) -> NDArray[np.float64] | None:
    if fps is None:
        return None
    if fps.size != 1 or not (np.isfinite(fps).all() and fps.item() > 0):
        raise InputError(f"{name}: fps must be one number above 0, got {fps.tolist()!s:.40}.")
    return np.arange(n) / fps.item()


def _labels(labels: NDArray[np.float64] | None, n: int, name: str) -> NDArray[np.int64] | None:
    if labels is None:
        return None
    if labels.shape != (n,) or not np.isin(labels, np.arange(NUM_LABELS)).all():
        raise InputError(f"{name}: labels must be {n} whole numbers from 0 to {NUM_LABELS - 1}, one for each pose.")
    return labels.astype(np.int64)
