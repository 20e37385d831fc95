"""Reconstituted context memory: which past latents the next chunk may look at.

The twelve most recent latents always, and one older clip of four whose cameras saw most of what the chunk
to come will see. Overlap is measured by Monte Carlo: `sample_points` draws a fixed cloud, and
`select_memory_frames` counts its points in both views. `select_memory_frames_reference` is the same rule as
plain loops, kept beside the fast one so that tests and readers can compare them.
"""

from __future__ import annotations

from .reference import select_memory_frames_reference
from .selection import sample_points, select_memory_frames

__all__ = ["sample_points", "select_memory_frames", "select_memory_frames_reference"]
