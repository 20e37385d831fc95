"""Memory Inspector: maps of what each chunk remembered."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from ..hyworld.camera import draw_top_down
from ..hyworld.walk import World as WorldValue
from .pixels import picture_to_image
from .schema import World, schema


class MemoryInspector(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HYWorldMemoryInspector",
            display_name="Memory Inspector",
            description=(
                "Draws the walk from above, a map per chunk: dark where the chunk is, orange what it remembered "
                "while it was generated."
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
                    tooltip="The chunk to show; -1 gives one map for every chunk.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="maps", tooltip="One map per chunk, in order."),
                io.String.Output(display_name="listing", tooltip="The latents each chunk remembered."),
            ],
        )

    @classmethod
    def execute(cls, world: WorldValue, chunk: int) -> io.NodeOutput:
        walked = world.path
        wanted = range(world.chunks) if chunk < 0 else [min(chunk, world.chunks - 1)]
        maps = torch.cat(
            [picture_to_image(draw_top_down(walked, memory=world.memory_frames, highlight_chunk=i)) for i in wanted]
        )
        lines = [
            f"chunk {i}: " + (", ".join(map(str, frames)) or "nothing") for i, frames in enumerate(world.memory_frames)
        ]
        return io.NodeOutput(maps, "\n".join(lines), ui=ui.PreviewImage(maps, cls=cls))
