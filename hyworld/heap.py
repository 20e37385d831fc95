"""Memory of the process that the C library holds although nobody uses it."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import lru_cache


def give_back() -> None:
    """Return freed memory to the system, where the C library is glibc; elsewhere nothing.

    A chunk on a CPU frees some hundred megabytes in pieces. glibc keeps what lies below a piece in use: 350 MB of the
    process, more or less from chunk to chunk. Takes some 10 ms, and what follows a little longer, which takes that
    memory again.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@lru_cache(maxsize=1)
def _trim() -> Callable[[int], int] | None:
    trim: Callable[[int], int] | None = None
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim
