"""What a prompt says that changes no result, or that no walk can use, before the host looks at it."""

from __future__ import annotations

import math
from typing import Any

SHOWN = "hyworld_preview"
"""Where a prompt keeps whether a sampler plays its chunks: beside the inputs, which decide what runs again."""

KEPT = "hyworld_outputs"
"""Where it keeps which large outputs the sampler is to make: among the inputs, because wiring one more needs a run."""

LARGE = (0, 1, 4)
"""The sampler's outputs images, latents and video."""


def settle(node: dict[str, Any], wired: set[int]) -> None:
    """Change one of the pack's nodes in a prompt so that the host's cache and its checks see what matters.

    wired: its outputs that other nodes take.
    """
    inputs = node.get("inputs")
    if not isinstance(inputs, dict):
        return
    for name, value in inputs.items():
        if isinstance(value, float) and not math.isfinite(value):
            # JSON knows no such number: the host would pass it on, and the front end could not read the job list.
            inputs[name] = "not a finite number"
    if node.get("class_type") == "HYWorldStreamingSampler":
        _settle_sampler(node, inputs)
        inputs[KEPT] = " ".join(str(output) for output in LARGE if output in wired)


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


def is_shown(prompt: dict[str, Any] | None, node_id: str | None, preview: bool) -> bool:
    """Whether a sampler is to play its chunks; `preview` if the prompt does not say."""
    told: bool = (prompt or {}).get(node_id, {}).get("_meta", {}).get(SHOWN, preview)
    return told


def kept_outputs(prompt: dict[str, Any] | None, node_id: str | None) -> set[int]:
    """Which of the `LARGE` outputs a sampler is to make; all if the prompt does not say."""
    told = (prompt or {}).get(node_id, {}).get("inputs", {}).get(KEPT)
    return set(LARGE) if told is None else {int(output) for output in told.split()}
