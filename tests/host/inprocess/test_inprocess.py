"""Every `check_…` function of the files `checks_*.py` beside this one, run by ComfyUI's own Python; see conftest.py."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import HostProcess

SLOW = {"checks_vae"}
"""Files that take more than a few seconds a check: a VAE of full size."""

pytestmark = pytest.mark.host


def checks() -> list[Any]:
    """(file, function) of all checks in order, the slow ones last; nothing is imported for it."""
    found = []
    for path in sorted(Path(__file__).parent.glob("checks_*.py"), key=lambda path: (path.stem in SLOW, path.stem)):
        functions = [node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if _is_check(node)]
        assert functions, f"{path} holds no checks"
        marks = [pytest.mark.slow] if path.stem in SLOW else []
        found += [
            pytest.param(path.stem, name, marks=marks, id=f"{path.stem.removeprefix('checks_')}-{name[6:]}")
            for name in functions
        ]
    return found


def _is_check(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name.startswith("check_")


def test_what_proves_nothing_fails(host_process: HostProcess):
    silent = host_process.run("workbench", "small_vae")
    assert not silent["passed"]
    assert "instead of a sentence on what it compared" in silent["message"]
    absent = host_process.run("workbench", "check_nothing")
    assert not absent["passed"]
    assert "no attribute 'check_nothing'" in absent["message"]


@pytest.mark.parametrize(("file", "check"), checks())
def test_check(
    file: str, check: str, host_process: HostProcess, record_property: Callable[[str, object], None]
) -> None:
    answer = host_process.run(file, check)
    if not answer["passed"]:
        pytest.fail(f"{answer['message']}\n--- the host's log ---\n{host_process.log()}", pytrace=False)
    record_property("evidence", answer["message"])
    print(answer["message"])
