"""What a prompt says that changes no result, or that no walk can use, before the host looks at it."""

from __future__ import annotations

import math
from typing import Any

SHOWN = "hyworld_preview"
"""Where a prompt keeps whether a sampler plays its chunks: beside the inputs, which decide what runs again."""


def settle(node: dict[str, Any]) -> None:
    """Change one of the pack's nodes in a prompt so that the host's cache and its checks see what matters."""
    inputs = node.get("inputs")
    if not isinstance(inputs, dict):
        return
    for name, value in inputs.items():
        if isinstance(value, float) and not math.isfinite(value):
            # JSON knows no such number: the host would pass it on, and the front end could not read the job list.
            inputs[name] = "not a finite number"
    if node.get("class_type") == "HYWorldStreamingSampler":
        _settle_sampler(node, inputs)


def _settle_sampler(node: dict[str, Any], inputs: dict[str, Any]) -> None:
    if isinstance(inputs.get("world"), list):  # seed and size are that world's
        if isinstance(inputs.get("seed"), int):
            inputs["seed"] = 0
        for name in ("width", "height"):
            if isinstance(inputs.get(name), int):
                del inputs[name]
    if isinstance(inputs.get("preview"), bool):
        node.setdefault("_meta", {})[SHOWN] = inputs["preview"]
        inputs["preview"] = True
