"""Modules of the pack without ComfyUI: those that the nodes use and that need no host."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
NAME = "hyworld_pack"
"""The package ComfyUI would make of the repository root."""

Pack = Callable[[str], ModuleType]


@pytest.fixture(scope="session")
def pack() -> Iterator[Pack]:
    """`pack("nodes.preview")` imports a module of the pack.

    Its engine is `pack("hyworld.errors")`, as under ComfyUI: other modules than those of the installed `hyworld`.
    """
    # Bare packages, because nodes/__init__.py imports every node and those need the host.
    for name, folder in ((NAME, ROOT), (f"{NAME}.nodes", ROOT / "nodes")):
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [str(folder)]
    yield lambda name: importlib.import_module(f"{NAME}.{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        del sys.modules[name]


@pytest.fixture
def input_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Pack) -> Path:
    """An empty input folder of the host: the only thing that the path field asks it for."""
    host = ModuleType("folder_paths")
    host.get_input_directory = lambda: str(tmp_path)
    monkeypatch.setitem(sys.modules, "folder_paths", host)
    monkeypatch.setattr(pack("nodes.host.files"), "folder_paths", host)
    return tmp_path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[dict], dict]]:
    """A server of the host: the handlers it was given for prompts."""
    handlers: list[Callable[[dict], dict]] = []
    host = ModuleType("server")
    host.PromptServer = SimpleNamespace(instance=SimpleNamespace(add_on_prompt_handler=handlers.append))
    monkeypatch.setitem(sys.modules, "server", host)
    return handlers
