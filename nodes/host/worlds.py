"""World files in ComfyUI's folders."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ...hyworld.camera.tokens import shortened
from ...hyworld.errors import InputError
from ...hyworld.walk.file import SUFFIX

OUTPUT = " [output]"
"""The host's mark of a file that lies in the output folder."""


def world_names() -> list[str]:
    """The world files in the input folder, and those in the output folder with the host's mark; the newest first."""
    return _listed(folder_paths.get_input_directory(), "") + _listed(folder_paths.get_output_directory(), OUTPUT)


def world_file(name: str) -> Path:
    """The file of a name in `world_names`; raises `InputError` for any other, without telling where files lie."""
    in_output = name.endswith(OUTPUT)
    folder = folder_paths.get_output_directory() if in_output else folder_paths.get_input_directory()
    if name not in _listed(folder, OUTPUT if in_output else ""):
        raise InputError(
            f"There is no world {shortened(' '.join(name.split()))}: put the file into the input folder, or choose "
            "another."
        )
    return Path(folder, name.removesuffix(OUTPUT))


def next_world_file(prefix: str) -> tuple[Path, str]:
    """The next free file of that prefix in the output folder, numbered as the core's, and what to call it."""
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory())
    file = f"{name}_{counter:05}_{SUFFIX}"
    return Path(folder, file), os.path.join(subfolder, file)


def _listed(folder: str, mark: str) -> list[str]:
    files = [Path(path, name) for path, _, names in os.walk(folder) for name in names if name.endswith(SUFFIX)]
    newest = sorted(files, key=lambda file: file.stat().st_mtime if file.exists() else 0, reverse=True)
    return [file.relative_to(folder).as_posix() + mark for file in newest]
