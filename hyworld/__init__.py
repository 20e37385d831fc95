"""HY-World 1.5 (WorldPlay WAN-5B) as an engine: a picture, a prompt and a camera path in, a walk as video out.

The whole of it is `load`, then `start`, `step` or `run`, `state` and `resume`; docs/architecture.md is the map.
"""

from .camera import Speeds, Trajectory
from .errors import InputError
from .rollout import Chunk, Progress, RolloutEngine, RolloutState
from .world import World, load

__version__ = "0.1.0"

__all__ = [
    "Chunk",
    "InputError",
    "Progress",
    "RolloutEngine",
    "RolloutState",
    "Speeds",
    "Trajectory",
    "World",
    "__version__",
    "load",
]
