"""Running the command as a user does: in this process, where starting torch anew would cost seconds each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from hyworld.cli.main import app

Run = Callable[..., SimpleNamespace]


@pytest.fixture
def hyworld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`hyworld(*arguments)` in an empty folder; returns exit code and output."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> SimpleNamespace:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return SimpleNamespace(returncode=result.exit_code, stdout=result.stdout, stderr=result.stderr)

    return run
