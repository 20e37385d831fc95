"""Shared by all commands: one-line errors, exit codes, notes, safe file writing."""

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

from ..atomic import discard, publish, temporary_name
from ..errors import InputError
from ..parallel import RankLostError, interrupt, lost

P = ParamSpec("P")
R = TypeVar("R")

EXIT_INPUT = 2
EXIT_OTHER = 1

console = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)

_SMALLER = "choose a smaller --size, --decoder tiny, or close other programs that use it"
_CPU_ALLOCATOR = "DefaultCPUAllocator"  # torch has no exception of its own for the CPU's memory


def note(text: str) -> None:
    stderr.print(f"note: {text}", style="yellow", markup=False)


def notes(texts: Iterable[str]) -> None:
    """Print several notes, each once."""
    for text in dict.fromkeys(texts):
        note(text)


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Errors as one line: wrong input exits with code 2, an interrupt or lack of memory with 1."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        # `kill` then cleans up as Ctrl-C does.
        signal.signal(signal.SIGTERM, interrupt)
        warnings.showwarning = lambda message, *_, **__: note(str(message))
        try:
            result = command(*args, **kwargs)
            if (gone := lost()) is not None:
                raise RankLostError(gone)
            return result
        except InputError as error:
            raise typer.Exit(fail(str(error), EXIT_INPUT)) from error
        except OSError as error:
            if error.filename is None:
                raise
            # Such as a name that is too long, or a folder without permission.
            raise typer.Exit(fail(f"{error.filename}: {error.strerror}: check the path", EXIT_INPUT)) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(fail(lost(wait=True) or "interrupted", EXIT_OTHER)) from error
        except RankLostError as error:
            raise typer.Exit(fail(str(error), EXIT_OTHER)) from error
        except torch.OutOfMemoryError as error:
            raise typer.Exit(fail(f"the GPU's memory does not hold this: {_SMALLER}", EXIT_OTHER)) from error
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and _CPU_ALLOCATOR not in str(error):
                raise
            raise typer.Exit(fail(f"the computer's memory does not hold this: {_SMALLER}", EXIT_OTHER)) from error

    return wrapped


def fail(text: str, code: int) -> int:
    """Print an error line; returns `code`."""
    stderr.print(f"error: {' '.join(text.split())}", style="bold red", markup=False)
    return code


def write_whole(path: Path, write: Callable[[Path], object], *, overwrite: bool = False, or_next: bool = False) -> Path:
    """Let `write` fill a temporary file, then `publish` it; returns its name, raises `InputError` if that fails."""
    part = temporary_name(path)
    try:
        write(part)
        return publish(part, path, overwrite=overwrite, or_next=or_next)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): choose another name or folder.") from error
    finally:
        discard(part)


def parse_size(text: str) -> tuple[int, int]:
    """`704x1280` → (704, 1280), height first; raises `InputError` for anything else."""
    height, _, width = text.lower().replace("×", "x").partition("x")
    if not (height.strip().isdecimal() and width.strip().isdecimal()):
        raise InputError(f"The size must be height x width in pixels, such as 704x1280, got {text!r}.")
    return int(height), int(width)
