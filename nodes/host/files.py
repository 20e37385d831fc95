"""Where the host keeps files."""

from __future__ import annotations

import os

import folder_paths


def input_file(name: str) -> str:
    """A file of ComfyUI's input folder, or the name as it is where the folder has no such file."""
    path = os.path.join(folder_paths.get_input_directory(), name)
    # Unlike Path.is_file, this takes text of any length, which need not be a name at all.
    return path if os.path.isfile(path) else name
