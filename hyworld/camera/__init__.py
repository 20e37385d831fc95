"""Camera paths: what the user asks for, as poses and action labels the network understands.

A path comes from pose tokens (`w-8, right-8`) or pose JSON and becomes a `Trajectory`: camera-to-world poses,
normalised intrinsics and one of 81 action labels per latent, plus notes for the user about how the input was
read. `draw_top_down` shows it as a map. Everything is plain numpy; no torch, no device.
"""

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
