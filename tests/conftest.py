"""Settings for the whole suite."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# The networks under test are tiny: threads would wait for each other longer than they work.
torch.set_num_threads(1)

if not torch.cuda.is_available():
    # Triton reads this when a kernel is defined: its interpreter runs them on CPU tensors.
    os.environ["TRITON_INTERPRET"] = "1"

# What passes once passes always, on any machine: a change is judged by what it does, not by the numbers it happened to
# draw or by what else runs.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def node() -> str:
    """Node.js, which finds playwright-core."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("no Node.js")
    wanted = os.environ.get("PLAYWRIGHT_CORE") or "playwright-core"
    asked = [found, "-e", f"require({json.dumps(wanted)})"]
    if subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True).returncode:
        pytest.skip("no playwright-core: neither in $PLAYWRIGHT_CORE nor where node looks for packages")
    return found


@pytest.fixture(scope="session")
def chromium() -> str:
    """A Chromium."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return next(filter(None, found), None) or pytest.skip("no Chromium")
