"""Memory Inspector: maps of what each chunk remembered."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..hyworld.camera.topdown import PictureOf, draw_chunks
from ..hyworld.errors import InputError
from ..hyworld.numbering import numbers
from ..hyworld.walk import World as WorldValue
from .host.latents import ROUGH_CHANNELS, rough_picture
from .pixels import picture_to_image, to_picture
from .schema import World, schema

SIDES = (320, 640)
"""Sides of the maps in pixels, at least and at most."""

MOST_BYTES = 500_000_000
"""The maps of a long walk are drawn smaller, so that together they take no more (down to the least side)."""

MOST_SHOWN = 60
"""Maps that the node itself shows in turn."""

SHOWN_PER_SECOND = 1.0


class MemoryInspector(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HYWorldMemoryInspector",
            display_name="Memory Inspector",
            description=(
                "Draws the walk from above: white where a chunk is, orange what it remembered while it was generated, "
                "with small pictures of both."
            ),
            search_aliases=["hyworld", "memory", "context frames", "debug"],
            is_output_node=True,
            inputs=[
                World.Input("world", tooltip="The world of a Streaming Sampler."),
                io.Int.Input(
                    "chunk",
                    default=-1,
                    min=-1,
                    max=4096,
                    tooltip="The chunk to show, from 1; 0 and -1 show all of them, one after the other.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="maps", tooltip="One map per chunk, in order."),
                io.String.Output(display_name="listing", tooltip="The latents each chunk remembered, from 1."),
            ],
        )

    @classmethod
    def execute(cls, world: WorldValue, chunk: int) -> io.NodeOutput:
        if chunk > world.chunks:
            raise InputError(
                f"There is no chunk {chunk}: this world has {world.chunks}; choose 1 to {world.chunks}, or 0 for all."
            )
        wanted = range(world.chunks) if chunk < 1 else range(chunk - 1, chunk)
        side = _side(len(wanted))
        drawn = draw_chunks(world.path, world.memory_frames, wanted, size=(side, side), picture_of=_pictures_of(world))
        maps = torch.cat([picture_to_image(picture) for picture in drawn])
        return io.NodeOutput(maps, _listing(world), ui=_shown(maps, cls))


def _side(maps: int) -> int:
    """Side in pixels of so many maps."""
    return min(max(math.isqrt(MOST_BYTES // (maps * 3 * 4)), SIDES[0]), SIDES[1])


def _pictures_of(world: WorldValue) -> PictureOf | None:
    """Latent index → a rough picture of it; None if the latents' colours are not known."""
    if world.latent_shape[0] not in ROUGH_CHANNELS:
        return None
    n = world.history[0].latents.shape[2]
    return cache(lambda i: to_picture(rough_picture(world.history[i // n].latents[0, :, i % n])))


def _listing(world: WorldValue) -> str:
    n = world.history[0].latents.shape[2]
    return "\n".join(
        f"chunk {i + 1} (latents {numbers(range(i * n, i * n + n))}) remembered {numbers(frames)}"
        for i, frames in enumerate(world.memory_frames)
    )


def _shown(maps: Tensor, cls: type[io.ComfyNode]) -> Any:
    """What the node shows: the map, or one map after another, at most `MOST_SHOWN` of them."""
    if len(maps) == 1:
        return ui.PreviewImage(maps, cls=cls)
    some = maps[torch.linspace(0, len(maps) - 1, min(len(maps), MOST_SHOWN)).round().long()]
    moving = ui.ImageSaveHelper.save_animated_webp(
        some,
        filename_prefix="hyworld_memory",
        folder_type=io.FolderType.temp,
        cls=cls,
        fps=SHOWN_PER_SECOND,
        lossless=False,
        quality=85,
        method=0,
    )
    return ui.SavedImages([moving], is_animated=True)
