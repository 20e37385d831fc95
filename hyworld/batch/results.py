"""The folder of results: each walk's video and world, and the record of what made them, which appears last."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from .. import __version__
from ..atomic import discard, temporary_name
from ..errors import InputError
from .lines import Line

WORK = ".work"


class Results:
    """A folder of results, made if it is not there; a context manager, in which no other batch may use it.

    token: within the context, tells batches of this folder from others.

    Raises `InputError` for a folder that cannot be made or is in use.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.token = ""
        self._lock: IO[str] | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"The folder {folder} cannot be made ({error.strerror}): choose another one.") from None

    def __enter__(self) -> Results:
        self._lock = (self.folder / ".lock").open("a+")
        with suppress(ImportError):  # Windows has none
            import fcntl

            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InputError(f"Another batch writes into {self.folder}: wait for it, or take a folder.") from None
        self._lock.seek(0)
        self.token = self._lock.read()
        if not self.token:
            self.token = uuid.uuid4().hex
            self._lock.write(self.token)
            self._lock.flush()
        shutil.rmtree(self.folder / WORK, ignore_errors=True)  # of workers that were killed
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder / WORK, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def has(self, line: Line) -> bool:
        """Whether the walk was made; raises `InputError` if another walk has its name."""
        try:
            record = json.loads(self._record(line).read_text())
        except (OSError, ValueError):
            return False
        if record.get("key") != line.key:
            raise InputError(f"the name {line.name} is that of another walk in {self.folder}: choose another one.")
        return True

    def _record(self, line: Line) -> Path:
        return self.folder / f"{line.name}.json"


@contextmanager
def work_folder(folder: Path) -> Iterator[Path]:
    """Beside the results, for what is not finished."""
    (folder / WORK).mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder / WORK))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def finish(folder: Path, line: Line, files: Mapping[str, Path], made: Mapping[str, Any]) -> dict[str, Any]:
    """Move `files`, by what follows the line's name in theirs, into `folder`; then write the record, which is returned.

    An ending that begins with neither a letter, a digit, a dot nor a dash is no other line's.
    """
    for ending, file in files.items():
        os.replace(file, folder / f"{line.name}{ending}")
    record = {
        "line": line.number,
        "key": line.key,
        "options": line.options,
        "hyworld": __version__,
        "files": sorted(f"{line.name}{ending}" for ending in files),
        **made,
    }
    target = folder / f"{line.name}.json"
    part = temporary_name(target)
    try:
        part.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(part, target)
    finally:
        discard(part)
    return record
