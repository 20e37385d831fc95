"""Camera paths: pose tokens, key presses or pose JSON → `Trajectory` (poses, intrinsics, action labels); no torch."""

from __future__ import annotations

from .actions import MOVES, NUM_LABELS, TURNS, label, label_from_keys, label_name, labels
from .poses import integrate
from .tokens import KEYS, Motion, Speeds, parse_tokens
from .topdown import draw_top_down
from .trajectory import Trajectory

__all__ = [
    "KEYS",
    "MOVES",
    "NUM_LABELS",
    "TURNS",
    "Motion",
    "Speeds",
    "Trajectory",
    "draw_top_down",
    "integrate",
    "label",
    "label_from_keys",
    "label_name",
    "labels",
    "parse_tokens",
]
