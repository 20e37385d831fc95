"""Running the command as a user does: in this process, where starting torch anew would cost seconds each time."""

from __future__ import annotations

import io
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest

from hyworld.cli.main import main

Run = Callable[..., SimpleNamespace]


@contextmanager
def in_folder(folder: Path) -> Iterator[Run]:
    """`hyworld(*arguments)` there; returns exit code and output."""

    def run(*arguments: object) -> SimpleNamespace:
        stdout, stderr, before = io.StringIO(), io.StringIO(), signal.getsignal(signal.SIGTERM)
        try:
            with redirect_stdout(stdout), redirect_stderr(stderr), pytest.raises(SystemExit) as left:
                main([str(argument) for argument in arguments])
        finally:
            signal.signal(signal.SIGTERM, before)
        return SimpleNamespace(returncode=left.value.code, stdout=stdout.getvalue(), stderr=stderr.getvalue())

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        # The command sets these for its process, which is the tests' here.
        monkeypatch.setattr("warnings.showwarning", None)
        yield run


@pytest.fixture
def hyworld(tmp_path: Path) -> Iterator[Run]:
    """`hyworld(*arguments)` in an empty folder; returns exit code and output."""
    with in_folder(tmp_path) as run:
        yield run
