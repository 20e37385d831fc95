"""The quick start in the real front end: a headless Chromium loads it, presses Run and plays the video."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from .browser import drive
from .conftest import street_picture
from .server import REPOSITORY, ComfyServer

pytestmark = [pytest.mark.host, pytest.mark.browser]

QUICK_START = REPOSITORY / "example_workflows" / "quick_start.json"


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
    seen = drive(node, "browser.cjs", scene)

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
