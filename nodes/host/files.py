"""Files in ComfyUI's folders."""

from __future__ import annotations

import os

import folder_paths


def input_file(name: str) -> str:
    """Path of the file in ComfyUI's input folder, or `name` if there is none."""
    path = os.path.join(folder_paths.get_input_directory(), name)
    # Unlike Path.is_file, this does not raise on text too long for a name.
    return path if os.path.isfile(path) else name
