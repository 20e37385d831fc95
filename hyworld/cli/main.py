"""Entry point of the `hyworld` command. Exit codes: 0 done, 2 the user's input, 1 anything else."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with these arguments (default: those of the process) and leave with its exit code."""
    try:
        # Here, because torch takes a second to import: an interrupt meanwhile is one like any other.
        from .app import run

        code = run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        code = 1
    raise SystemExit(code)


if __name__ == "__main__":
    main()
