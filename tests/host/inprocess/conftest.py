"""The pack inside ComfyUI's own Python, without a server.

`comfy` cannot be imported where the other tests run, so the checks run elsewhere: `test_inprocess.py` starts one Python
of ComfyUI's (`runner.py`), asks it for one check after another, and passes or fails with its answer.

- `checks_*.py`: the checks, one function each, readable on their own. A check raises, or returns what it compared.
- `workbench.py`: what they share: small models, the nodes called as the host calls them, comparisons.
- `test_inprocess.py`: finds the checks by reading the files; each is a test of its own.

One check alone: `pytest tests/host/inprocess -k a_lora_with_no_weights_loaded`. Another ComfyUI: $COMFYUI_PATH.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]
LONGEST = 300.0
"""Seconds after which a check has hung."""


class HostProcess:
    """ComfyUI's Python with the pack in it, waiting for checks to run."""

    def __init__(self, comfyui: Path, python: Path, work: Path) -> None:
        self._log = work / "log.txt"
        (work / "files").mkdir()
        # The interpreter is another one than ours: what is set for ours must not reach it.
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [python, HERE / "runner.py", comfyui, REPOSITORY, work / "files"],
                cwd=comfyui,
                env={**environment, "OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
            )

    def run(self, file: str, check: str) -> dict[str, Any]:
        """The runner's answer. A process that ends or hangs fails the check it was at, and all after it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        watchdog = threading.Timer(LONGEST, self._process.kill)
        watchdog.start()
        try:
            print(json.dumps({"file": file, "check": check}), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            watchdog.cancel()
        if not line:
            pytest.fail(f"ComfyUI's Python ended (exit status {self._process.wait()}).\n{self.log()}", pytrace=False)
        answer: dict[str, Any] = json.loads(line)
        assert answer["check"] == check
        return answer

    def log(self) -> str:
        """The end of what the host printed."""
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-25:])

    def close(self) -> None:
        """End the process; it is idle between checks."""
        self._process.communicate()


@pytest.fixture(scope="module")
def host_process(comfyui: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    """One process for all checks of a run; `comfyui` is the installation that tests/host/conftest.py found."""
    process = HostProcess(comfyui.root, comfyui.python, tmp_path_factory.mktemp("inprocess"))
    yield process
    process.close()
