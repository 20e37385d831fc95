"""What every command shares: one-line errors, exit codes, notes, and names that overwrite nothing."""

from __future__ import annotations

import functools
import signal
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch
import typer
from rich.console import Console

from ..errors import InputError

P = ParamSpec("P")
R = TypeVar("R")

EXIT_INPUT = 2
EXIT_OTHER = 1

console = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """Something the user should know that is no error."""
    stderr.print(f"note: {text}", style="yellow", markup=False)


def notes(texts: Iterable[str]) -> None:
    """Print several notes, each once."""
    for text in dict.fromkeys(texts):
        note(text)


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn a wrong input into one line and exit code 2, an interrupt or a full GPU into one line and code 1."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        # `kill` ends a command as cleanly as Ctrl-C does.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        warnings.showwarning = lambda message, *_, **__: note(str(message))
        try:
            return command(*args, **kwargs)
        except InputError as error:
            _fail(str(error), EXIT_INPUT, error)
        except KeyboardInterrupt as error:
            _fail("interrupted", EXIT_OTHER, error)
        except torch.OutOfMemoryError as error:
            _fail(
                "the GPU's memory does not hold this: choose a smaller --size, --decoder tiny, "
                "or close other programs that use it",
                EXIT_OTHER,
                error,
            )
        raise AssertionError("unreachable")

    return wrapped


def _fail(text: str, code: int, error: BaseException) -> None:
    stderr.print(f"error: {text}", style="bold red", markup=False)
    raise typer.Exit(code) from error


def free_name(path: Path) -> Path:
    """`path`, or the first of path-2, path-3, … that does not exist: a default name never overwrites."""
    candidate, number = path, 2
    while candidate.exists():
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return candidate


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then give it its name: there is never half a file.

    Raises:
        InputError: the folder is missing or full, or may not be written to.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        write(part)
        part.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): choose another name or folder.") from error
    finally:
        part.unlink(missing_ok=True)


def parse_size(text: str) -> tuple[int, int]:
    """`704x1280` → (704, 1280), height first.

    Raises:
        InputError: anything else.
    """
    height, _, width = text.lower().replace("×", "x").partition("x")
    if not (height.strip().isdigit() and width.strip().isdigit()):
        raise InputError(f"The size must be height x width in pixels, such as 704x1280, got {text!r}.")
    return int(height), int(width)
