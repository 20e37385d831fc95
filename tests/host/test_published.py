"""What the registry's archive holds is enough: the tracked files without those in `.comfyignore`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from .client import Client
from .installation import Installation
from .server import PACK_NAME, REPOSITORY, ComfyServer
from .walks import TRAINED_MODEL, changed, walk

pytestmark = pytest.mark.host


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A folder with the files that are published."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    lines = (REPOSITORY / ".comfyignore").read_text().splitlines()
    left_out = tuple(line for line in lines if line and not line.startswith("#"))
    assert all(folder.endswith("/") for folder in left_out), "this test knows folders only"
    for name in tracked.stdout.split("\0"):
        if name and not name.startswith(left_out):
            target = tmp_path / "archive" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, target)
    return tmp_path / "archive"


def test_the_archive_is_a_whole_pack(archive: Path, comfyui: Installation, tmp_path: Path) -> None:
    assert not (archive / "tests").exists()
    assert sum(file.stat().st_size for file in archive.rglob("*") if file.is_file()) < 44.5e6
    prompt = walk("w-3")
    del prompt["picture"]
    prompt = changed(prompt, "first", image=["world", 2], width=288, height=160)
    prompt = changed(prompt, "model", model_name=TRAINED_MODEL)
    with ComfyServer(comfyui, tmp_path / "base", pack=archive) as server:
        client = Client(server.url)
        nodes = {name for name, info in client.object_info().items() if info["python_module"].endswith(PACK_NAME)}
        run = client.run(prompt, timeout=120)
        client.close()
    assert "HYWorldStreamingSampler" in nodes
    assert run.status == "success", run.error
