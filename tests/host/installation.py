"""Where ComfyUI is on this machine, and with which Python it runs."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

MISSING = "no ComfyUI: neither in $COMFYUI_PATH nor in ~/comfy/ComfyUI"


@dataclass(frozen=True)
class Installation:
    """A ComfyUI folder, the interpreter that has its packages, and the front end if it is not its own."""

    root: Path
    python: Path
    front_end: Path | None = None


def find_comfyui() -> Installation | None:
    """The ComfyUI in $COMFYUI_PATH, else in ~/comfy/ComfyUI, with the front end in $COMFYUI_FRONT_END if that is set.

    None where there is no ComfyUI.

    Raises:
        FileNotFoundError: $COMFYUI_FRONT_END names a folder without a front end.
    """
    root = Path(os.environ.get("COMFYUI_PATH") or "~/comfy/ComfyUI").expanduser().absolute()
    if not (root / "main.py").is_file():
        return None
    return Installation(root, _interpreter(root), _front_end())


def _interpreter(root: Path) -> Path:
    """$COMFYUI_PYTHON, else the Python of the folder's own virtual environment, else the one that runs the tests."""
    if chosen := os.environ.get("COMFYUI_PYTHON"):
        return Path(chosen)
    own = [root / name / python for name in (".venv", "venv") for python in ("bin/python", "Scripts/python.exe")]
    return next((python for python in own if python.is_file()), Path(sys.executable))


def _front_end() -> Path | None:
    """The folder with a front end's static files in $COMFYUI_FRONT_END."""
    chosen = os.environ.get("COMFYUI_FRONT_END")
    if not chosen:
        return None
    folder = Path(chosen).expanduser().absolute()
    if not (folder / "index.html").is_file():
        raise FileNotFoundError(f"$COMFYUI_FRONT_END: no index.html in {folder}: name the folder of the static files.")
    return folder
