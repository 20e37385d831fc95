"""What the browser tests need: Node.js with playwright-core, and a Chromium. Without them they are skipped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def node() -> str:
    """Node.js, which finds playwright-core."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("no Node.js")
    wanted = os.environ.get("PLAYWRIGHT_CORE") or "playwright-core"
    if subprocess.run([found, "-e", f"require({json.dumps(wanted)})"], cwd=HERE, capture_output=True).returncode:
        pytest.skip("no playwright-core: neither in $PLAYWRIGHT_CORE nor where node looks for packages")
    return found


@pytest.fixture(scope="module")
def chromium() -> str:
    """A Chromium."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return next(filter(None, found), None) or pytest.skip("no Chromium")


def drive(node: str, script: str, scene: dict[str, Any]) -> dict[str, Any]:
    """Run a script of this folder; returns the JSON it prints last."""
    command = [node, str(HERE / script), json.dumps(scene)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    seen: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return seen
