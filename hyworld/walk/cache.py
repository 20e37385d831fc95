"""Cache rules: how the past gets into the keys and values that a chunk attends to.

A rule keeps buffers and what can be made again; all that a chunk is made from is in its world.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from ..camera import Trajectory
from ..config import PATCH
from .networks import Branch
from .world import Step, World

Begun = tuple[tuple[int, ...], tuple[Branch, ...]]
"""Indices of the past latents that a chunk attends to, and its branches with these in memory."""


class Cache(Protocol):
    """How a chunk comes to see the past."""

    def begin(
        self, world: World, cameras: Trajectory, branches: Sequence[Branch], on_replay: Callable[[], None]
    ) -> Begun:
        """The next chunk of `world`, seen by `cameras`, begins.

        on_replay: called before every forward over a chunk made longer ago than the last; may raise to stop.
        """

    def foresee(self, world: World, cameras: Trajectory, following: Trajectory) -> None:
        """What the chunk after the next may be prepared for, while the device works. Not binding."""

    def noise_given(self, step: Step, noise: Tensor) -> None:
        """`step` was walked with noise of the caller's; this is the draw that belongs to its context."""

    def bytes_needed(self, tokens: int) -> tuple[int, int]:
        """Bytes for keys and values, and for the activations of the largest forward, with so many tokens per latent."""


def tokens_per_frame(world: World) -> int:
    """Tokens of one of its latents."""
    _, h, w = world.latent_shape
    return h * w // PATCH**2
