"""Which format a file has, by its name and content."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from ...atomic import check_new_file, discard, publish, temporary_name
from ...errors import InputError
from ..pose_json import PoseData, poses_from_json, poses_to_json, read_file, read_json_text
from . import blender, colmap, dreamx, nerfstudio, npz

FORMATS = (
    "transforms.json (nerfstudio), NAME.blender.json, any other NAME.json (poses), NAME.npz, or a folder with a slash "
    "at its end (COLMAP)"
)


def names_file(source: str) -> bool:
    """Whether a path in words is the name of a file or folder, rather than tokens or JSON text; looks at no disk."""
    return not source.startswith(("{", "[")) and (
        source.lower().endswith((".json", ".npz", ".txt")) or "/" in source or "\\" in source
    )


def read(source: str) -> PoseData:
    """Poses of a file or of COLMAP's folder; raises `InputError` that names it."""
    name = called(source)
    ending = source.lower()
    if ending.endswith(".json"):
        return read_data(read_json_text(read_file(source, name), name), name)
    if ending.endswith(".npz"):
        try:
            with Path(source).expanduser().open("rb") as file:
                return npz.read(file, name)
        except InputError:
            raise
        except (OSError, ValueError, RuntimeError) as error:
            raise _unreadable(error, name) from None
    path = Path(source)
    if path.name in (colmap.CAMERAS, colmap.IMAGES):
        path = path.parent
    return _read_colmap(path, name)


def called(source: str) -> str:
    """How errors call a file."""
    return f'The camera file "{source}"'


def read_data(data: object, name: str) -> PoseData:
    """Poses of parsed JSON: Blender's, nerfstudio's, DreamX-World's, or pose JSON.

    Raises `InputError` that begins with `name`.
    """
    if isinstance(data, Mapping) and dreamx.ACTIONS in data:
        return dreamx.read(data, name)
    if isinstance(data, Mapping) and "frames" in data:
        frames = data["frames"]
        ours = isinstance(frames, list) and any(isinstance(f, Mapping) and "matrix_world" in f for f in frames)
        return blender.read(data, name) if ours else nerfstudio.read(data, name)
    return poses_from_json(data, name)


def check_new(target: str, *, every_frame: bool = False, overwrite: bool = False) -> list[Path]:
    """The files that `write` makes of a name; raises `InputError` unless all may be written (see `check_new_file`).

    every_frame: there is a pose for each frame of the video.
    """
    if target.lower().endswith((".json", ".npz")):
        files = [Path(target).expanduser()]
        if every_frame and _json_writer(files[0]) is None and files[0].suffix.lower() == ".json":
            raise InputError(
                f"{target} is pose JSON, which has one pose per latent and none per frame: choose another format."
            )
    else:
        folder = Path(target).expanduser()
        if not target.endswith(("/", "\\")) and not folder.is_dir():
            raise InputError(f"{target} does not say which format to write: the name must be {FORMATS}.")
        if folder.is_file():
            raise InputError(f"{target} is a file: give the name of the folder to write COLMAP's files to.")
        if not folder.is_dir():
            if not folder.parent.is_dir():
                raise InputError(f"The folder {folder.parent} does not exist: create it or choose another name.")
            return [folder / file for file in colmap.FILES]
        if any((folder / other).exists() for other in colmap.OTHERS):
            raise InputError(f"{target} holds a model of COLMAP that would no longer fit: choose another folder.")
        files = [folder / file for file in colmap.FILES]
    for file in files:
        check_new_file(file, file.suffix.lower(), overwrite=overwrite)
    return files


def write(poses: PoseData, target: str, *, height: int, width: int, overwrite: bool = False) -> list[Path]:
    """Write the format that the name asks for, for frames of this size; returns the files.

    Each file appears whole. Raises `InputError` as `check_new` and if the disk refuses.
    """
    files = check_new(target, every_frame=poses.seconds is not None, overwrite=overwrite)
    contents = _contents(poses, files[0], height, width)
    parts = [(temporary_name(file), file) for file in files]
    folder = files[0].parent
    new_folder = not folder.exists()
    try:
        folder.mkdir(exist_ok=True)
        for part, file in parts:
            part.write_bytes(contents[file.name])
        return [publish(part, file, overwrite=overwrite) for part, file in parts]
    except OSError as error:
        raise InputError(f"{target} cannot be written ({error.strerror}): choose another name or folder.") from error
    finally:
        for part, _ in parts:
            discard(part)
        if new_folder:
            with suppress(OSError):  # it stays unless it is empty
                folder.rmdir()


def _contents(poses: PoseData, file: Path, height: int, width: int) -> dict[str, bytes]:
    """Bytes of each file, by name."""
    name = file.name.lower()
    if name.endswith(".txt"):
        return {key: text.encode() for key, text in colmap.write(poses, height, width).items()}
    if name.endswith(".npz"):
        return {file.name: npz.write(poses)}
    writer = _json_writer(file)
    data: Mapping[str, object]
    if writer is None:
        data = poses_to_json(poses.c2w, poses.intrinsics, None if poses.labels is None else poses.labels.tolist())
    else:
        data = writer(poses, height, width)
    return {file.name: json.dumps(data, indent=1).encode()}


def _json_writer(file: Path) -> Callable[[PoseData, int, int], dict[str, object]] | None:
    """The format of a .json file's name; None for pose JSON."""
    name = file.name.lower()
    if name.startswith("transforms"):
        return nerfstudio.write
    return blender.write if name.endswith(".blender.json") else None


def _read_colmap(folder: Path, name: str) -> PoseData:
    try:
        folder = folder.expanduser()
        if not (folder / colmap.IMAGES).exists() and (folder / "images.bin").exists():
            raise InputError(
                f"{name} is a binary model of COLMAP: convert it with colmap model_converter --output_type TXT."
            )
        # Names of pictures may be in any encoding; they only tell the order.
        with (
            (folder / colmap.CAMERAS).open(encoding="utf-8", errors="replace") as cameras,
            (folder / colmap.IMAGES).open(encoding="utf-8", errors="replace") as images,
        ):
            return colmap.read(cameras, images, name)
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreadable(error, name, f", with {colmap.CAMERAS} and {colmap.IMAGES} in it") from None


def _unreadable(error: Exception, name: str, more: str = "") -> InputError:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return InputError(f"{name} does not exist{more}: check the path, or give pose tokens such as w-15.")
    return InputError(f"{name} cannot be read ({error}): choose another file.")
