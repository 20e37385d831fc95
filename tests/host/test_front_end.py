"""$COMFYUI_FRONT_END: the test server serves the front end that it names."""

from __future__ import annotations

import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from .installation import Installation, find_comfyui
from .server import ComfyServer

pytestmark = pytest.mark.host


def test_the_server_serves_the_front_end_it_is_given(comfyui: Installation, tmp_path: Path) -> None:
    front_end = tmp_path / "front_end"
    front_end.mkdir()
    (front_end / "index.html").write_text("another front end")
    with (
        ComfyServer(replace(comfyui, front_end=front_end), tmp_path / "base") as server,
        urllib.request.urlopen(server.url, timeout=30) as page,
    ):
        assert page.read() == b"another front end"


def test_a_folder_without_a_front_end_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMFYUI_FRONT_END", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"\$COMFYUI_FRONT_END: no index\.html"):
        find_comfyui()
