"""Running the scripts of this folder that drive a browser."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def drive(node: str, script: str | Path, scene: dict[str, Any], timeout: float = 300) -> dict[str, Any]:
    """Run a script of this folder, or a path; returns the JSON it prints last."""
    command = [node, str(HERE / script), json.dumps(scene)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert run.returncode == 0, run.stderr
    seen: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return seen
