"""A real ComfyUI server for the tests: its own folders, this repository as its only node pack, no GPU."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from .installation import Installation

REPOSITORY = Path(__file__).parents[2]
HELPERS = Path(__file__).parent / "helper_pack"
PACK_NAME = "ComfyUI-HY-WorldPlay"

THREADS = {} if "HYWORLD_PACE" in os.environ else {"OMP_NUM_THREADS": "1"}
"""Small models are faster on one; walking in real time takes what there is."""


class ComfyServer:
    """A ComfyUI process. Use it as a context manager: it is ready inside, and ended by its pid on the way out.

    Its packs are `pack` and the helpers. All it reads and writes lies in `folder`; the packs, models and outputs of
    the installation are neither seen nor touched.

    Raises:
        RuntimeError: it ended or was not ready in time; the message holds its log.
    """

    def __init__(self, installation: Installation, folder: Path, *arguments: str, pack: Path = REPOSITORY) -> None:
        self._installation = installation
        self._folder = folder
        self._pack = pack
        self._arguments = arguments
        self.url = ""

    @property
    def folder(self) -> Path:
        """All that it has."""
        return self._folder

    @property
    def input(self) -> Path:
        """The folder Load Image reads from."""
        return self._folder / "input"

    @property
    def models(self) -> Path:
        """The folder with the folders of model files."""
        return self._folder / "models"

    def log(self) -> str:
        """What the server has said so far."""
        return (self._folder / "log.txt").read_text(errors="replace")

    def __enter__(self) -> ComfyServer:
        packs = self._folder / "custom_nodes"
        for folder in (packs, *(self._folder / name for name in ("input", "output", "temp", "user", "models"))):
            folder.mkdir(parents=True)
        (packs / PACK_NAME).symlink_to(self._pack, target_is_directory=True)
        (packs / "helpers").symlink_to(HELPERS, target_is_directory=True)
        port = _free_port()
        front_end = self._installation.front_end
        self.url = f"http://127.0.0.1:{port}"
        command = [
            *(self._installation.python, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", port),
            *("--disable-auto-launch", "--disable-api-nodes", "--database-url", "sqlite:///:memory:"),
            *("--base-directory", self._folder, "--user-directory", self._folder / "user"),
            *("--input-directory", self._folder / "input", "--output-directory", self._folder / "output"),
            *("--temp-directory", self._folder, *self._arguments),
            *(("--front-end-root", front_end) if front_end else ()),
        ]
        self._log = (self._folder / "log.txt").open("wb")
        self._process = subprocess.Popen(
            [str(word) for word in command],
            cwd=self._installation.root,
            env={**os.environ, **THREADS, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _wait_until_ready(self, seconds: float = 120) -> None:
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            if self._process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended with exit code {self._process.returncode}:\n{self.log()}")
            try:
                with urllib.request.urlopen(f"{self.url}/system_stats", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise RuntimeError(f"ComfyUI was not ready within {seconds:.0f} s:\n{self.log()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
