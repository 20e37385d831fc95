"""The quick start in the real front end: a headless Chromium loads it, presses Run and plays the video."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from .conftest import street_picture
from .server import REPOSITORY, ComfyServer

pytestmark = [pytest.mark.host, pytest.mark.browser]

HERE = Path(__file__).parent
QUICK_START = REPOSITORY / "example_workflows" / "quick_start.json"


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


def test_the_quick_start_runs_in_the_browser(node: str, chromium: str, server: ComfyServer, tmp_path: Path) -> None:
    street_picture().save(server.input / "example.png")
    documentation = os.environ.get("HYWORLD_DOCS")
    screenshot = tmp_path / "quick_start.png"
    scene = {
        "url": server.url,
        "chromium": chromium,
        "profile": str(tmp_path / "profile"),
        "workflow": str(QUICK_START),
        "screenshot": str(screenshot),
        "chunks": 0 if documentation else 2,
    }
    drive = subprocess.run(
        [node, str(HERE / "browser.cjs"), json.dumps(scene)], capture_output=True, text=True, timeout=240
    )
    assert drive.returncode == 0, drive.stderr
    seen = json.loads(drive.stdout.splitlines()[-1])

    assert seen["missing"] == []
    assert seen["dialogs"] == []
    assert "HYWorldStreamingSampler" in seen["types"]
    assert seen["queued"] == "button"
    assert (seen["ended"], seen["error"]) == ("execution_success", "")
    assert seen["previews"] > 3
    assert seen["shown"] > 3, "the sampler's node never showed a preview"
    assert (seen["video"]["videoWidth"], seen["video"]["videoHeight"]) == (288, 160)
    if not documentation:
        assert seen["video"]["duration"] == pytest.approx(29 / 16, abs=0.1)
    with Image.open(screenshot) as picture:
        assert picture.size == (2400, 1400)
    if documentation:
        shutil.copy(screenshot, REPOSITORY / "docs" / "images" / "quick_start.png")
