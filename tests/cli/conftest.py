"""Running the command as a user does: in this process, where starting torch anew would cost seconds each time."""

from __future__ import annotations

import io
import signal
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest

from hyworld.cli.main import main

Run = Callable[..., SimpleNamespace]


@pytest.fixture
def hyworld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`hyworld(*arguments)` in an empty folder; returns exit code and output."""
    monkeypatch.chdir(tmp_path)
    # The command sets these for its process, which is the tests' here.
    monkeypatch.setattr("warnings.showwarning", None)

    def run(*arguments: object) -> SimpleNamespace:
        stdout, stderr, before = io.StringIO(), io.StringIO(), signal.getsignal(signal.SIGTERM)
        try:
            with redirect_stdout(stdout), redirect_stderr(stderr), pytest.raises(SystemExit) as left:
                main([str(argument) for argument in arguments])
        finally:
            signal.signal(signal.SIGTERM, before)
        return SimpleNamespace(returncode=left.value.code, stdout=stdout.getvalue(), stderr=stderr.getvalue())

    return run
