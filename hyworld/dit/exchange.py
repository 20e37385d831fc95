"""What processes that share the forwards of one network hand each other: tokens split but for attention, there heads.

Shape suffixes: B batch, F frames, S tokens per frame, E = heads * head dim.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

Arriving = Callable[[], tuple[Tensor, ...]]
"""Gives what was sent, once it is there; between sending and this call other work can be done."""


class Exchange(Protocol):
    """One process's side; every process calls the same methods in the same order.

    ranks: how many processes there are; it divides the heads.
    """

    ranks: int

    def own_tokens(self, x_BFSE: Tensor) -> Tensor:
        """This process's tokens of every frame."""

    def to_heads(self, tokens: int, *xs: Tensor) -> Arriving:
        """Send each `x`, own tokens of all heads; all S (`tokens`) tokens of this process's heads arrive."""

    def to_tokens(self, tokens: int, x: Tensor) -> Arriving:
        """The inverse of `to_heads`."""

    def all_tokens(self, tokens: int, x_BFSE: Tensor) -> Tensor:
        """All S tokens, of every process's own."""
