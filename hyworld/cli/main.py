"""Entry point of the `hyworld` command. Exit codes: 0 done, 2 the user's input, 1 anything else."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

SHARED = ("generate", "play", "bench")
"""Commands that several processes can share."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command (default arguments: `sys.argv`) and exit with its code."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # else Ctrl-C is ignored, as for jobs in the background
        signal.signal(signal.SIGINT, _leave_at_once)
    try:
        # Imported here because torch takes a second: an interrupt meanwhile is handled too.
        from ..parallel import follow_if_told, leave
        from .app import run
    finally:
        signal.signal(signal.SIGINT, before)
    given = sys.argv[1:] if arguments is None else arguments
    follow_if_told(shares=any(name in given for name in SHARED) and not {"-h", "--help"} & set(given))
    code = run(given)
    leave(code)
    raise SystemExit(code)


def _leave_at_once(*_: object) -> None:
    """Exit without an exception: some of torch's imports swallow every exception. Nothing is written yet."""
    os.write(sys.stderr.fileno(), b"error: interrupted\n")
    os._exit(1)


if __name__ == "__main__":
    main()
