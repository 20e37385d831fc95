"""Save World, Load World and Rewind World."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor

from ..hyworld.errors import InputError
from ..hyworld.walk import World as WorldValue
from ..hyworld.walk.file import thumbnail
from .host.latents import ROUGH_CHANNELS, rough_picture
from .host.worlds import next_world_file, world_file, world_names
from .pixels import picture_to_image, to_picture
from .schema import World, schema

NO_WORLD = "no world yet: save or upload one"


class SaveWorld(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HYWorldSaveWorld",
            display_name="Save World",
            description=(
                "Writes a world to the output folder: all that is needed to go on in it, in another session or on "
                "another computer with the same model. A chunk at 1280x704 takes 1.4 MB."
            ),
            search_aliases=["hyworld", "keep world", "export world"],
            is_output_node=True,
            inputs=[
                World.Input("world", tooltip="The world of a Streaming Sampler."),
                io.String.Input(
                    "filename_prefix", default="hyworld/world", tooltip="Folder and beginning of the name."
                ),
                io.Image.Input(
                    "picture", optional=True, tooltip="The file's small picture; of several the last. Default: rough."
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, world: WorldValue, filename_prefix: str, picture: Tensor | None = None) -> io.NodeOutput:
        shown = _rough(world) if picture is None else to_picture(picture[-1])
        written, name = None, ""
        while written is None:
            path, name = next_world_file(filename_prefix)
            try:
                written = world.save(path, thumbnail=shown)
            except InputError:
                if not path.exists():  # else another run took the name meanwhile
                    raise
        lines = [f"{name}, {written.stat().st_size / 1e6:.1f} MB", *_said(world)]
        folder, file = os.path.split(name)
        saved = {"filename": file, "subfolder": folder, "type": "output"}  # for who fetches results by their history
        return io.NodeOutput(ui={**_ui(lines, shown, cls), "worlds": [saved]})


class LoadWorld(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HYWorldLoadWorld",
            display_name="Load World",
            description="A world from a file, to go on in with the model that made it.",
            search_aliases=["hyworld", "open world", "import world", "continue"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=world_names() or [NO_WORLD],
                    tooltip="A .world file in the input folder, or one that Save World wrote [output].",
                ),
                io.Boolean.Input(
                    "any_model",
                    default=False,
                    optional=True,
                    tooltip="Go on in it with other weights of the same size, such as a fine-tuned model.",
                ),
            ],
            outputs=[
                World.Output(
                    display_name="world", tooltip="For the Streaming Sampler, Rewind World, Memory Inspector."
                ),
                io.Int.Output(display_name="chunks", tooltip="How many chunks it has."),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        if file is None:
            return True
        try:
            world_file(file)
        except InputError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None, **_: Any) -> str:
        """Changes with the file."""
        try:
            written = world_file(file or "").stat()
        except (InputError, OSError):
            return ""
        return f"{written.st_mtime_ns} {written.st_size}"

    @classmethod
    def execute(cls, file: str, any_model: bool = False) -> io.NodeOutput:
        path = world_file(file)
        world = WorldValue.load(path)
        shown = thumbnail(path) or _rough(world)
        if any_model:
            world = replace(world, network=(), vae=())
        return io.NodeOutput(world, world.chunks, ui=_ui(_said(world), shown, cls))


class RewindWorld(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HYWorldRewindWorld",
            display_name="Rewind World",
            description=(
                "The world as it was some chunks ago, to take another way from there: another path, another prompt, "
                "or another seed."
            ),
            search_aliases=["hyworld", "branch", "undo walk", "go back"],
            inputs=[
                World.Input("world", tooltip="The world of a Streaming Sampler or Load World."),
                io.Int.Input(
                    "chunks",
                    default=-1,
                    min=-100_000,
                    max=100_000,
                    tooltip="How many chunks stay: 3 keeps the first three; -1 takes back the last one.",
                ),
                io.Int.Input(
                    "new_seed",  # the front end would draw a new one after each run if its name were seed
                    default=-1,
                    min=-1,
                    max=0xFFFFFFFFFFFFFFFF,
                    optional=True,
                    tooltip="Another seed for the chunks to come; -1 keeps the world's own.",
                ),
            ],
            outputs=[World.Output(display_name="world", tooltip="The world with so many chunks.")],
        )

    @classmethod
    def execute(cls, world: WorldValue, chunks: int, new_seed: int = -1) -> io.NodeOutput:
        kept = chunks if chunks >= 0 else world.chunks + chunks
        if not 0 < kept <= world.chunks:
            raise InputError(
                f"This world has {world.chunks} chunks and cannot be rewound to {kept}: keep 1 to {world.chunks}, or "
                f"take back up to {world.chunks - 1} (-{world.chunks - 1})."
            )
        then = world.at_chunk(kept)
        then = then if new_seed < 0 else replace(then, seed=new_seed)
        return io.NodeOutput(then, ui=ui.PreviewText(str(then)))


def _said(world: WorldValue) -> list[str]:
    return [str(world), *dict.fromkeys(step.words.prompt for step in world.history if step.words and step.words.prompt)]


def _ui(lines: list[str], shown: Image.Image | None, cls: type[io.ComfyNode]) -> dict[str, Any]:
    picture = {} if shown is None else ui.PreviewImage(picture_to_image(shown), cls=cls).as_dict()
    return {**picture, "text": lines}


def _rough(world: WorldValue) -> Image.Image | None:
    """The last latent's colours; None if not known."""
    if not world.chunks or world.latent_shape[0] not in ROUGH_CHANNELS:
        return None
    small = to_picture(rough_picture(world.history[-1].latents[0, :, -1]))
    return small.resize((small.width * 8, small.height * 8), Image.Resampling.BICUBIC)
