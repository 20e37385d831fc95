"""HY-World 1.5 (WorldPlay WAN-5B) as an engine: a picture, a prompt and a camera path in, a walk as video out.

`load` gives a `Pipeline`; its `start` gives a `World`, a value, and `walk` the chunks along a path, each with the world
after it. docs/architecture.md is the map.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .camera import Speeds, Trajectory
    from .errors import InputError
    from .modes import Modes
    from .pipeline import Pipeline, load
    from .walk import Chunk, Progress, World

__version__ = "0.1.0"

__all__ = [
    "Chunk",
    "InputError",
    "Modes",
    "Pipeline",
    "Progress",
    "Speeds",
    "Trajectory",
    "World",
    "__version__",
    "load",
]

_HOMES = {
    "camera": ("Speeds", "Trajectory"),
    "errors": ("InputError",),
    "modes": ("Modes",),
    "pipeline": ("Pipeline", "load"),
    "walk": ("Chunk", "Progress", "World"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used.

    Torch takes a second to import; the command line must be able to answer an interrupt meanwhile.
    """
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
