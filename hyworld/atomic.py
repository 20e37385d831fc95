"""Files that appear whole or not at all: written under a temporary name in the same folder, then renamed."""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from .errors import InputError


def check_new_file(path: Path, suffix: str, *, overwrite: bool = False) -> None:
    """Raise `InputError` unless `path` ends in `suffix`, in an existing folder, and replaces nothing unasked."""
    if path.suffix.lower() != suffix:
        raise InputError(f"{path} must be a file name that ends in {suffix}: choose another name.")
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of the file to write.")
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist: create it or choose another name.")
    # A dangling link counts: renaming onto it would replace it.
    if os.path.lexists(path) and not overwrite:
        raise _exists(path)


def temporary_name(path: Path) -> Path:
    """A hidden, unused name beside `path`, for `publish`."""
    # Not the process number: containers that share a folder may have the same one.
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def numbered(path: Path) -> Iterator[Path]:
    """`path`, then path-2, path-3, …"""
    yield path
    for number in count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def publish(part: Path, path: Path, *, overwrite: bool = False, or_next: bool = False) -> Path:
    """Rename `part`, a closed file beside `path`, to `path`, replacing nothing unasked. Returns its new name.

    overwrite: replace an existing file.
    or_next: take the first free name of `numbered(path)` and replace nothing.

    Raises `InputError` if the name is taken, `OSError` if the folder refuses; `part` is then still there.
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
    """Remove a temporary file if there is one; errors are ignored, because writing met them before."""
    with suppress(OSError):
        part.unlink()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore SIGINT and SIGTERM while a file is finished: a second Ctrl-C would lose it."""
    if threading.current_thread() is not threading.main_thread():  # only that one may, and only that one is interrupted
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _rename_onto_nothing(part: Path, path: Path) -> None:
    try:
        os.link(part, path)  # unlike a rename, it fails if the name is taken
    except FileExistsError:
        raise
    except OSError:  # a file system without links, such as exFAT: take the name with an empty file
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
