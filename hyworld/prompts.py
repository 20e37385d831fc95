"""New words on the way: a prompt schedule, as text.

0: a quiet street
6: it starts to rain

The number is how many chunks the world has when it is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from .errors import InputError

Prompts = dict[int, str]
"""Words by the number of chunks the world then has, ascending."""

MOST_BYTES = 1_000_000

# Not 16:9 nor 6:30, with which an ordinary prompt may begin.
_ENTRY = re.compile(r"\s*(-?[0-9]{1,9})\s*:(?![0-9])(.*)", re.DOTALL)


def parse_prompts(texts: Iterable[str], start: int = 0) -> Prompts:
    """The schedule of `["a quiet street", "6: it starts to rain"]`.

    start: where words without a number hold from.

    Raises `InputError` for a negative number, no words after a number, or two entries for one number.
    """
    return _schedule((_entry(text, start), repr(text)) for text in texts)


def read_prompts(path: str | Path) -> Prompts:
    """The schedule in a text file, an entry with its number in each line; empty lines and lines from `#` are left out.

    Raises `InputError` as `parse_prompts`, for a line without a number, and for a file without entries or that cannot
    be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"The prompts in {path} cannot be read ({error.strerror}): check the name.") from None
    except UnicodeDecodeError:
        raise InputError(
            f"{path} is no UTF-8 text: give a text file of lines such as '6: it starts to rain'."
        ) from None
    if len(data) > MOST_BYTES:
        raise InputError(f"{path} is larger than {MOST_BYTES} bytes: give a text file of prompts.")
    entries = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        place = f"line {number} of {path}"
        if _ENTRY.fullmatch(line) is None:
            raise InputError(f"{line!r} in {place} has no number of chunks: write '6: it starts to rain'.")
        entries.append((_entry(line, 0), place))
    if not entries:
        raise InputError(f"{path} has no prompts: write lines such as '6: it starts to rain'.")
    return _schedule(entries)


def told_in_walk(prompts: Mapping[int, str], first: int, last: int) -> Prompts:
    """What a walk of a world of `first` chunks to one of `last` is told: what holds when it begins, and what follows.

    What holds when it begins keeps its number.
    """
    begun = [chunks for chunks in prompts if chunks <= first]
    return {chunks: words for chunks, words in prompts.items() if chunks in begun[-1:] or first < chunks < last}


def _entry(text: str, start: int) -> tuple[int, str]:
    match = _ENTRY.fullmatch(text)
    if match is None:
        return start, text
    chunks, words = int(match[1]), match[2].strip()
    if chunks < 0:
        raise InputError(f"The prompt {text!r} is for {chunks} chunks: give the number the world then has, 0 or more.")
    if not words:
        raise InputError(f"The prompt {text!r} has no words: write what the world is told, '6: it starts to rain'.")
    return chunks, words


def _schedule(entries: Iterable[tuple[tuple[int, str], str]]) -> Prompts:
    prompts: Prompts = {}
    for (chunks, words), place in entries:
        if chunks in prompts:
            raise InputError(f"There are two prompts for {chunks} chunks, the second is {place}: leave one out.")
        prompts[chunks] = words
    return dict(sorted(prompts.items()))
