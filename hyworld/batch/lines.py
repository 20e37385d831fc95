"""The file of walks: JSON, one object a line, read as a stream."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError

LONGEST = 1 << 20
"""Bytes of a line."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

Check = Callable[[dict[str, Any]], object]
"""Raises `InputError` for options that are no walk's."""


class Line(NamedTuple):
    """A walk to be made.

    number: of the line, from 1.
    name: of its results, without an ending.
    key: tells walks of other options apart.
    options: as written, with those that hold for all lines.
    """

    number: int
    name: str
    key: str
    options: dict[str, Any]


class BadLine(NamedTuple):
    """A line that is no walk, and why."""

    number: int
    problem: str


def read(
    path: Path, check: Check, for_all: Mapping[str, Any], plain: Callable[[str], str] = str, made_by: str = ""
) -> Iterator[Line | BadLine]:
    """The lines of `path`; empty ones are left out. A `name` of a line names its results.

    for_all: options of every line that does not say otherwise.
    plain: the one name of an option that has several.
    made_by: made by something else, a walk is another.

    Raises `InputError` if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while data := file.readline(LONGEST + 1):
                number += 1
                if len(data) > LONGEST:
                    yield BadLine(number, f"it is longer than {LONGEST} bytes")
                    while data and not data.endswith(b"\n"):
                        data = file.readline(LONGEST)
                elif data.strip():
                    yield _line(number, data, check, for_all, plain, made_by)
    except OSError as error:
        raise InputError(f"The walks in {path} cannot be read ({error.strerror}): check the name.") from None


def count(path: Path) -> int:
    """How many walks `path` has, bad lines included; raises as `read`."""
    try:
        with path.open("rb") as file:
            return sum(1 for line in file if line.strip())
    except OSError as error:
        raise InputError(f"The walks in {path} cannot be read ({error.strerror}): check the name.") from None


def _line(
    number: int, data: bytes, check: Check, for_all: Mapping[str, Any], plain: Callable[[str], str], made_by: str
) -> Line | BadLine:
    try:
        options = json.loads(data)
        if not isinstance(options, dict):
            raise InputError('it is no object: write {"prompt": "a quiet street", "path": "w-15", "seed": 1}.')
        name = options.pop("name", None)
        if name is not None and (not isinstance(name, str) or not _NAME.fullmatch(name)):
            raise InputError(f"the name {name!r} is no file name of letters, digits, dots and dashes.")
        own = [plain(option) for option in options]
        options = {**{option: value for option, value in for_all.items() if plain(option) not in own}, **options}
        check(options)
        written = json.dumps(options, sort_keys=True, ensure_ascii=False) + made_by
        key = hashlib.sha256(written.encode()).hexdigest()[:12]
    except InputError as error:
        return BadLine(number, str(error))
    except (ValueError, RecursionError) as error:
        return BadLine(number, f"it is no JSON ({error})")
    return Line(number, name or f"{number:06d}-{key}", key, options)
