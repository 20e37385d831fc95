"""The wheel holds what `hyworld play` serves: the page and the modules it shares with the node."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from hyworld.live import files

ROOT = Path(__file__).parents[1]


def test_the_wheel_has_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hatchling")
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    in_checkout = files.page_files()
    monkeypatch.setattr(files, "__file__", str(tmp_path / "site" / "hyworld" / "live" / "files.py"))
    installed = files.page_files()
    assert installed.keys() == in_checkout.keys()
    assert {"play/index.html", "play/play.js", "js/live/view.js", "js/editor/keyboard.js"} <= installed.keys()
    for name, file in installed.items():
        assert (tmp_path / "site" in file.parents) or name.startswith("scenes/")
        assert file.read_bytes() == in_checkout[name].read_bytes()
    names = {path.relative_to(tmp_path / "site").parts[0] for path in (tmp_path / "site").rglob("*")}
    assert {name for name in names if not name.endswith(".dist-info")} == {"hyworld"}
