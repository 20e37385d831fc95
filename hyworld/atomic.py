"""Files that appear whole or not at all: written under a temporary name in the same folder, then renamed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from .errors import InputError


def check_new_file(path: Path, suffix: str, *, overwrite: bool = False) -> None:
    """Raise `InputError` unless `path` ends in `suffix`, in a folder that is there, and replaces nothing unasked."""
    if path.suffix.lower() != suffix:
        raise InputError(f"{path} must be a file name that ends in {suffix}: choose another name.")
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of the file to write.")
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist: create it or choose another name.")
    # A link that leads nowhere exists too: renaming onto it would replace it.
    if os.path.lexists(path) and not overwrite:
        raise InputError(f"{path} exists already: choose another name or add --overwrite.")


def temporary_name(path: Path) -> Path:
    """A hidden name beside `path` for this process to write under; `os.replace` onto `path` ends the writing."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def discard(part: Path) -> None:
    """Remove a temporary file if there is one.

    A folder that refuses this refused the writing before: that error is the one to tell.
    """
    with suppress(OSError):
        part.unlink()
