"""Files that a node may read. Whoever can queue a prompt writes their names, so no name reaches another folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

import folder_paths

from ...hyworld.camera.tokens import shortened
from ...hyworld.errors import InputError

POSE_FOLDERS = "HYWORLD_POSE_FOLDERS"
"""Environment variable: folders of camera files beside the input folder, separated as in PATH."""

LONGEST_NAME = 1000
"""Characters."""

LONGEST_NEW_NAME = 200
"""Bytes. File systems take 255, and a temporary name is longer."""

NOT_IN_NAMES = '<>:"/\\|?*'
"""What Windows takes in no name; a slash or colon would lead elsewhere."""


class UnreadableError(InputError):
    """A file that is no text or lies where no node may read; the message tells neither its place nor what it holds."""


def pose_file(name: str) -> Path:
    """A camera file in the input folder or in one of `POSE_FOLDERS`; raises `UnreadableError`."""
    path = _inside(name, [folder_paths.get_input_directory(), *os.environ.get(POSE_FOLDERS, "").split(os.pathsep)])
    if path is None:
        raise UnreadableError(
            f"{called(name)} is not in ComfyUI's input folder: put it there and write its name, "
            f"or have {POSE_FOLDERS} name its folder."
        )
    return path


def read_pose_file(name: str) -> str:
    """Text of a camera file, see `pose_file`; raises `UnreadableError`."""
    path = pose_file(name)
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError):
        raise UnreadableError(f"{called(name)} cannot be read as text: choose another file.") from None


def called(name: str) -> str:
    """What errors call the camera file of that name."""
    return f'The camera file "{shortened(" ".join(name.split()))}"'


def listed_file(folder: str, name: str, otherwise: str) -> Path:
    """A file that the host lists in this folder of models; raises `InputError` for another name."""
    path = folder_paths.get_full_path(folder, name) if name in folder_paths.get_filename_list(folder) else None
    if path is None:
        raise InputError(f"There is no file {shortened(name)} in models/{folder}: put it there, or {otherwise}.")
    return Path(path)


def new_file(folder: Path, name: str, suffix: str) -> Path:
    """A file to be written into this folder; raises `InputError` unless `name` is plain and ends in `suffix`."""
    plain = name.isprintable() and not name.startswith(".") and not set(name) & set(NOT_IN_NAMES)
    if not plain or len(name.encode()) > LONGEST_NEW_NAME or Path(name).suffix != suffix:
        raise InputError(
            f'The file name "{shortened(" ".join(name.split()))}" cannot be used: give one without a folder that ends '
            f"in {suffix}."
        )
    return folder / name


@contextmanager
def names_alone(path: Path | str, name: str) -> Iterator[None]:
    """Have errors call a file by its name in the list; where the server keeps it is nobody's business."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)) from None


def _inside(name: str, folders: list[str]) -> Path | None:
    """The file of that name in the first folder that has it; None if it lies elsewhere, also by way of a link."""
    # Read as on Windows: that knows both slashes, drives and network paths.
    written = PureWindowsPath(name)
    odd = len(name) > LONGEST_NAME or not name.isprintable()
    if odd or written.anchor or ".." in written.parts or name.startswith("~"):
        return None
    for folder in filter(None, folders):
        root = os.path.realpath(folder)
        path = Path(os.path.realpath(os.path.join(root, *written.parts)))
        if os.path.isfile(path) and path.is_relative_to(root):
            return path
    return None
