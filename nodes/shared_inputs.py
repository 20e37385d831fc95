"""Inputs that the Streaming Sampler and Live Walk have in common."""

from __future__ import annotations

from typing import Any, get_args

from comfy_api.latest import io

from ..hyworld.modes import KVChoice
from .picture import LEAST_MULTIPLE

LARGEST_SIDE = 4096


def model() -> Any:
    return io.Model.Input("model", tooltip="From Load HY-WorldPlay Model, by way of LoRA nodes if you like.")


def first_frame() -> Any:
    return io.Latent.Input(
        "first_frame",
        optional=True,
        tooltip="The picture the walk starts from (Encode First Frame); without it, the prompt alone.",
    )


def size() -> tuple[Any, Any]:
    """Width and height."""
    side = {"default": 0, "min": 0, "max": LARGEST_SIDE, "step": LEAST_MULTIPLE, "optional": True}
    return (
        io.Int.Input("width", **side, tooltip="Width in pixels without a first frame; 0 is the model's own."),
        io.Int.Input("height", **side, tooltip="Height in pixels without a first frame; 0 is the model's own."),
    )


def kv_memory() -> Any:
    return io.Combo.Input(
        "kv_memory",
        options=list(get_args(KVChoice)),
        default="auto",
        optional=True,
        tooltip="How remembered latents are kept: compact takes half the memory and some time, fast the other way "
        "round. auto is compact with triton kernels, where that costs 2 %, but not with attention in fp8 on cards of "
        "40 GB and more; else fast.",
    )


def colour_match() -> Any:
    return io.Float.Input(
        "colour_match",
        default=1.0,
        min=0.0,
        max=1.0,
        step=0.05,
        round=0.01,
        optional=True,
        tooltip="Of DreamX-World: how much each chunk's colours are matched to those of the chunk before. Its own "
        "program has 1; 0 leaves them. Other models have no such step.",
    )
