"""Where ComfyUI is on this machine, and with which Python it runs."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

MISSING = "no ComfyUI: neither in $COMFYUI_PATH nor in ~/comfy/ComfyUI"


@dataclass(frozen=True)
class Installation:
    """A ComfyUI folder and the interpreter that has its packages."""

    root: Path
    python: Path


def find_comfyui() -> Installation | None:
    """The ComfyUI in $COMFYUI_PATH, else in ~/comfy/ComfyUI; None where there is none."""
    root = Path(os.environ.get("COMFYUI_PATH") or "~/comfy/ComfyUI").expanduser().absolute()
    if not (root / "main.py").is_file():
        return None
    return Installation(root, _interpreter(root))


def _interpreter(root: Path) -> Path:
    """$COMFYUI_PYTHON, else the Python of the folder's own virtual environment, else the one that runs the tests."""
    if chosen := os.environ.get("COMFYUI_PYTHON"):
        return Path(chosen)
    own = [root / name / python for name in (".venv", "venv") for python in ("bin/python", "Scripts/python.exe")]
    return next((python for python in own if python.is_file()), Path(sys.executable))
