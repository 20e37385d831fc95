"""Where the host keeps files."""

from __future__ import annotations

from pathlib import Path

import folder_paths


def input_file(name: str) -> Path:
    """A file of ComfyUI's input folder, or the name as it is where the folder has no such file."""
    path = Path(folder_paths.get_input_directory()) / name
    return path if path.is_file() else Path(name)
