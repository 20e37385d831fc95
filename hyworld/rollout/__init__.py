"""The rollout engine: chunk by chunk from a picture, a prompt and a path to latents and frames."""

from .engine import Progress, RolloutEngine
from .state import Chunk, RolloutState

__all__ = ["Chunk", "Progress", "RolloutEngine", "RolloutState"]
