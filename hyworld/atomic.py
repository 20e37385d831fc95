"""Files that appear whole or not at all: written under a temporary name in the same folder, then published."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
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
        raise _exists(path)


def temporary_name(path: Path) -> Path:
    """A hidden name beside `path` that nobody else writes under; `publish` ends the writing."""
    # Not the process number: two containers that share a folder may have the same one.
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def numbered(path: Path) -> Iterator[Path]:
    """`path`, then path-2, path-3, …"""
    yield path
    for number in count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def publish(part: Path, path: Path, *, overwrite: bool = False, or_next: bool = False) -> Path:
    """Give the finished file `part` its name, in one step that replaces nothing unasked.

    Args:
        part: a closed file beside `path`.
        path: the name to give.
        overwrite: replace what has that name.
        or_next: take the first free name of `numbered(path)` and replace nothing.

    Returns:
        The name it has now.

    Raises:
        InputError: the name is taken, perhaps only since the writing began. `part` is then still there.
        OSError: the folder does not take it. Likewise.
    """
    if overwrite and not or_next:
        os.replace(part, path)
        return path
    for name in numbered(path) if or_next else (path,):
        with suppress(FileExistsError):
            _rename_onto_nothing(part, name)
            return name
    raise _exists(path)


def discard(part: Path) -> None:
    """Remove a temporary file if there is one.

    A folder that refuses this refused the writing before: that error is the one to tell.
    """
    with suppress(OSError):
        part.unlink()


def _rename_onto_nothing(part: Path, path: Path) -> None:
    try:
        os.link(part, path)  # unlike a rename, it fails if the name is taken
    except FileExistsError:
        raise
    except OSError:  # a file system without links, such as exFAT: the name is taken first, with an empty file
        path.touch(exist_ok=False)
        try:
            os.replace(part, path)
        except OSError:
            discard(path)
            raise
    else:
        discard(part)


def _exists(path: Path) -> InputError:
    return InputError(f"{path} exists already: choose another name or add --overwrite.")
