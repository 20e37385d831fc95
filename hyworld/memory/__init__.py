"""Reconstituted context memory: which past latents the next chunk attends to, by field-of-view overlap.

`select_memory_frames_reference` is the same rule as plain loops, to read and to compare with.
"""

from __future__ import annotations

from .reference import select_memory_frames_reference
from .selection import sample_points, select_clip, select_memory_frames

__all__ = ["sample_points", "select_clip", "select_memory_frames", "select_memory_frames_reference"]
