"""RoPE tables and cameras of consecutive frames."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from .prope import CameraProjections


class Positions(NamedTuple):
    """RoPE tables `[F, S, D // 2]` and cameras of F consecutive frames of S tokens each.

    cameras: for WorldPlay's second branch; None in other networks.
    here: cameras of the frames of this forward alone, for a camera branch of its own; None leaves that branch out.
    """

    cos: Tensor
    sin: Tensor
    cameras: CameraProjections | None
    here: CameraProjections | None = None

    def last(self, frames: int) -> Positions:
        """The last `frames` of these frames."""
        cameras = self.cameras and CameraProjections(*(matrix[:, -frames:] for matrix in self.cameras))
        return Positions(self.cos[-frames:], self.sin[-frames:], cameras)
