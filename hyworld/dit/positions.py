"""RoPE tables and cameras of consecutive frames, and the factors of attention in fp8."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from .fp8_attention import Factors
from .prope import CameraProjections


class Positions(NamedTuple):
    """RoPE tables `[F, S, D // 2]` and cameras of F consecutive frames of S tokens each.

    cameras: for WorldPlay's second branch; None in other networks.
    here: cameras of the frames of this forward alone, for a camera branch of its own; None leaves that branch out.
    factors: of a whole forward, if it attends in fp8.
    """

    cos: Tensor
    sin: Tensor
    cameras: CameraProjections | None
    here: CameraProjections | None = None
    factors: Factors | None = None

    @property
    def tokens(self) -> int:
        """S."""
        return self.cos.shape[1]

    def first(self, frames: int) -> Positions:
        """The first `frames` of these frames."""
        cameras = self.cameras and CameraProjections(*(matrix[:, :frames] for matrix in self.cameras))
        return Positions(self.cos[:frames], self.sin[:frames], cameras, factors=self.factors)

    def last(self, frames: int) -> Positions:
        """The last `frames` of these frames."""
        cameras = self.cameras and CameraProjections(*(matrix[:, -frames:] for matrix in self.cameras))
        return Positions(self.cos[-frames:], self.sin[-frames:], cameras, factors=self.factors)
