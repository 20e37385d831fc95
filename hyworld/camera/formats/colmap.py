"""COLMAP's text model: `cameras.txt` and `images.txt`, world-to-camera, x right, y down, z forward.

https://colmap.github.io/format.html
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..pose_json import LARGEST, PoseData, extrinsic
from ..quaternions import from_rotations, to_rotations
from .common import centre_note, distortion_note, in_order, lens, picture_names

FILES = CAMERAS, IMAGES, POINTS = "cameras.txt", "images.txt", "points3D.txt"

OTHERS = ("cameras.bin", "images.bin", "rigs.txt", "frames.txt")
"""Files of a model that we do not write; COLMAP would read them beside ours, or instead."""

FOCALS = {
    "SIMPLE_PINHOLE": 1,
    "PINHOLE": 2,
    "SIMPLE_RADIAL": 1,
    "RADIAL": 1,
    "OPENCV": 2,
    "FULL_OPENCV": 2,
}
"""Models of perspective cameras, and how many focal lengths their parameters begin with; cx and cy follow."""


def read(cameras: Iterable[str], images: Iterable[str], name: str) -> PoseData:
    """Poses in the order of the images' names, from the lines of both files; raises `InputError` naming the line."""
    lenses = dict(_lens(line, f"{name}, {CAMERAS}, line {i}") for i, line in _lines(cameras))
    found = [_image(line, f"{name}, {IMAGES}, line {i}") for i, line in _every_other(images)]
    if not found:
        raise InputError(f"{name} has no images in its {IMAGES}: choose a model that COLMAP has reconstructed.")
    found.sort(key=lambda image: in_order(image[2]))
    for _, camera, picture in found:
        if camera not in lenses:
            raise InputError(f"{name}: the image {picture!s:.60} has the camera {camera}, which {CAMERAS} lacks.")
    used = [lenses[camera] for _, camera, _ in found]
    notes = centre_note(name, max(off for _, off, _ in used))
    if any(distorted for _, _, distorted in used):
        notes = (*notes, distortion_note(name))
    return PoseData(np.stack([pose for pose, _, _ in found]), np.stack([K for K, _, _ in used]), notes=notes)


def write(poses: PoseData, height: int, width: int) -> dict[str, str]:
    """The three files of a model without points, for frames of this size named frame_00001.png, …"""
    ids: dict[tuple[float, float], int] = {}
    images = ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then an empty line: no points"]
    w2c = np.asarray(np.linalg.inv(poses.c2w), np.float64)
    quaternions = from_rotations(w2c[:, :3, :3])
    for i, (q, t, K, picture) in enumerate(
        zip(quaternions, w2c[:, :3, 3], poses.intrinsics, picture_names(poses), strict=True), start=1
    ):
        camera = ids.setdefault((float(K[0, 0]) * width, float(K[1, 1]) * height), len(ids) + 1)
        images += [f"{i} {_text(q)} {_text(t)} {camera} {picture}", ""]
    cameras = ["# CAMERA_ID MODEL WIDTH HEIGHT FX FY CX CY"]
    for (fx, fy), camera in ids.items():
        cameras.append(f"{camera} PINHOLE {width} {height} {_text((fx, fy, width / 2, height / 2))}")
    contents = {CAMERAS: cameras, IMAGES: images, POINTS: ["# no points"]}
    return {file: "\n".join(lines) + "\n" for file, lines in contents.items()}


def _text(numbers: Iterable[float]) -> str:
    return " ".join(repr(float(value)) for value in numbers)


def _lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, without comments and empty ones."""
    for i, line in enumerate(lines, start=1):
        text = line.strip()
        if text and not text.startswith("#"):
            yield i, text


def _every_other(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The images' lines: after each comes a line of points, which may be empty."""
    points = False
    for i, line in enumerate(lines, start=1):
        if points:
            points = False
        elif line.strip() and not line.lstrip().startswith("#"):
            points = True
            yield i, line.strip()


def _lens(line: str, where: str) -> tuple[int, tuple[NDArray[np.float64], float, bool]]:
    """Camera id; normalised intrinsics, how far the principal point is off the centre, whether there is distortion."""
    words = line.split()
    if len(words) < 5:
        raise InputError(f"{where} must be CAMERA_ID MODEL WIDTH HEIGHT PARAMS, got {line!s:.60}.")
    model = words[1]
    if model not in FOCALS:
        raise InputError(
            f"{where} has the camera model {model!s:.40}; supported are {', '.join(FOCALS)}: undistort the images "
            f"first (colmap image_undistorter)."
        )
    width, height, *parameters = _numbers((*words[2:4], *words[4:]), where)
    focals = FOCALS[model]
    if len(parameters) < focals + 2:
        raise InputError(f"{where}: {model} needs {focals + 2} or more parameters, got {len(parameters)}.")
    fx, fy = parameters[0], parameters[focals - 1]
    cx, cy = parameters[focals : focals + 2]
    K = lens(fx, fy, width, height, where)
    off = max(abs(cx / width - 0.5), abs(cy / height - 0.5))
    return _id(words[0], where), (K, off, any(parameters[focals + 2 :]))


def _image(line: str, where: str) -> tuple[NDArray[np.float64], int, str]:
    """Camera-to-world, camera id and name."""
    words = line.split(maxsplit=9)
    if len(words) < 10:
        raise InputError(
            f"{where} must be IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, followed by a line of points or an empty "
            f"one, got {line!s:.60}."
        )
    numbers = np.array(_numbers(words[1:8], where))
    q, t = numbers[:4], numbers[4:]
    length = math.hypot(*q)
    if not 1e-6 < length < LARGEST:
        raise InputError(f"{where} must have a quaternion QW QX QY QZ of length 1, got the length {length:g}.")
    if np.abs(t).max() > LARGEST:
        raise InputError(f"{where} must have a translation up to {LARGEST:g}, got {np.abs(t).max():g}; scale it down.")
    pose = np.eye(4)
    pose[:3, :3] = to_rotations(q[None] / length)[0].T
    pose[:3, 3] = -pose[:3, :3] @ t
    return extrinsic(pose, where), _id(words[8], where), words[9]


def _numbers(words: Iterable[str], where: str) -> list[float]:
    values = []
    for word in words:
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"{where} must hold finite numbers, got {word!s:.40}.")
        values.append(value)
    return values


def _id(word: str, where: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= 18):
        raise InputError(f"{where} must have a whole number as CAMERA_ID, got {word!s:.40}.")
    return int(word)
