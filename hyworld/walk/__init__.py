"""The walk: from a world and poses to the next chunk and the world after it.

A `World` is a value: walking returns the next one and changes none. `Walker` runs the networks; what a checkpoint
fixes of the loop is a `Recipe`.
"""

from .networks import Network
from .recipe import WORLDPLAY, Recipe, Rolling
from .walker import Progress, Walker
from .world import Chunk, Step, Words, World

__all__ = [
    "WORLDPLAY",
    "Chunk",
    "Network",
    "Progress",
    "Recipe",
    "Rolling",
    "Step",
    "Walker",
    "Words",
    "World",
]
