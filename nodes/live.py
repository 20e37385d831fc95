"""Live Walk."""

from __future__ import annotations

import logging
import uuid
from typing import Any

from comfy_api.latest import io

from ..hyworld.camera import Speeds
from ..hyworld.camera.tokens import paced
from ..hyworld.errors import InputError
from ..hyworld.modes import KVChoice
from ..hyworld.walk import World as WorldValue
from . import shared_inputs as shared
from .camera import MOVE, TURN
from .host.clip import encoder_of, words_of
from .host.idle import idle_patches
from .host.live import place_of_running_node
from .host.lora import lora_notes
from .host.model import require_worldplay
from .host.prompt import text_behind, wired_outputs
from .host.run import ProgressBar
from .host.vae import AUTO_DECODER, HostVAE, live_decoder_names
from .literals import check_walk
from .memory import in_memory
from .plan import pipeline_of, start_of
from .record import Record
from .schema import Trajectory, World, schema
from .walking import Walking, said, walked

VIDEO, WORLD = 0, 1
"""Numbers of outputs."""


class LiveWalk(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HYWorldLiveWalk",
            display_name="HY-WorldPlay Live Walk",
            description=(
                "Walk through the world while it is made: press Run, click into the picture and hold W A S D or the "
                "arrow keys. Go back and take another way, change the words, and stop when you have what you want. "
                "Models without a camera, such as Self-Forcing, go on by themselves and follow your words."
            ),
            search_aliases=["hyworld", "worldplay", "world model", "play", "game", "interactive", "real time", "walk"],
            is_output_node=True,  # it can be walked with nothing wired to it
            inputs=[
                shared.model(),
                io.Conditioning.Input("positive", tooltip="The words that the walk begins with."),
                io.Vae.Input(
                    "vae",
                    tooltip="The model's VAE (Load VAE): Wan 2.2 for WorldPlay, Wan 2.1 for Self-Forcing and "
                    "Causal-Forcing; or that of Tiny World.",
                ),
                shared.first_frame(),
                World.Input(
                    "world",
                    optional=True,
                    tooltip="A world to go on in, such as one from Load World. First frame, size and seed are that "
                    "world's.",
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="For new words on the way: with it, the node has a field for them. They hold from the next "
                    "chunk.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    optional=True,
                    tooltip="The same seed and the same keys give the same world.",
                ),
                io.Combo.Input(
                    "decoder",
                    options=live_decoder_names(),
                    default=AUTO_DECODER,
                    optional=True,
                    tooltip="What turns latents into frames: the VAE; the same with convolutions in fp8, faster at a "
                    "little error, for cards from Hopper on; or a tiny decoder, faster still and rougher. "
                    "auto is the tiny one in the built-in world, and else the VAE.",
                ),
                *shared.size(),
                shared.kv_memory(),
                io.Float.Input(
                    "move_speed",
                    **MOVE,
                    optional=True,
                    tooltip="Distance a held key or a stick pushed all the way covers per latent (4 frames). 0.08 is "
                    "what the model was trained at (DreamX-World's own 0.3 units are 0.08 here).",
                ),
                io.Float.Input(
                    "turn_speed",
                    **TURN,
                    optional=True,
                    tooltip="Degrees a held key or a stick pushed all the way turns per latent. 3 is what the model "
                    "was trained at (DreamX-World's own 6 degrees are 3 here).",
                ),
                io.Boolean.Input(
                    "goes_on",
                    default=False,
                    optional=True,
                    tooltip="Time goes on while no key is held. Otherwise it stands still. Can be switched while "
                    "walking. Without a camera it begins by going on.",
                ),
                shared.colour_match(),
            ],
            outputs=[
                io.Video.Output(
                    display_name="video",
                    tooltip="The way to where you stopped, written while you walked. For Save Video.",
                ),
                World.Output(display_name="world", tooltip="The world where you stopped: to save, or to go on in."),
                Trajectory.Output(
                    display_name="trajectory",
                    tooltip="The path you walked. A Streaming Sampler walks it again, bit for bit.",
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        )

    @classmethod
    def validate_inputs(cls, width: int | None = None) -> bool | str:
        # One input alone: the host repeats an error for every input named here, and leaves its range to us.
        if isinstance(width, int) and not 0 <= width <= shared.LARGEST_SIDE:
            return f"The width must be 0 to {shared.LARGEST_SIDE} pixels, got {width}."
        return check_walk(cls.hidden.unique_id, None)

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> str:
        """Never the same: nobody walks the same way twice."""
        return uuid.uuid4().hex

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        vae: Any,
        first_frame: Any = None,
        world: WorldValue | None = None,
        clip: Any = None,
        seed: int = 0,
        decoder: str = AUTO_DECODER,
        width: int = 0,
        height: int = 0,
        kv_memory: KVChoice = "auto",
        move_speed: float = Speeds().move,
        turn_speed: float = Speeds().turn_deg,
        goes_on: bool = False,
        colour_match: float = 1.0,
    ) -> io.NodeOutput:
        patcher = require_worldplay(model)
        node, prompt = cls.hidden.unique_id, cls.hidden.prompt
        wired = wired_outputs(prompt, node)
        with place_of_running_node() as place:
            host_vae = HostVAE(vae)
            pipeline, frames_from = pipeline_of(patcher, host_vae, decoder, kv_memory, colour_match=colour_match)
            recipe = pipeline.walker.recipe
            if recipe.is_guided:
                raise InputError(
                    f"This model needs guidance ({recipe.name}), which Live Walk does not give: use the Streaming "
                    "Sampler, or load a distilled model such as HY-WorldPlay or Self-Forcing."
                )
            words = words_of(positive, text_behind(prompt, node, "positive"))
            start = start_of(pipeline, host_vae, words, world, first_frame, (height, width), seed)
            notes = [*lora_notes(patcher), *idle_patches(patcher)]
            if len(words) > 1:
                notes.append("A Live Walk takes one prompt: of the schedule, the words that hold now.")
            for note in notes:
                logging.warning("HY-WorldPlay: %s", note)

            record = Record(start, fps=recipe.frames_per_second, video=VIDEO in wired, keep=not wired & {VIDEO, WORLD})
            try:
                with record, in_memory(pipeline.walker, [patcher], host_vae, frames_from, start) as load:
                    if clip is not None:
                        pipeline.encode_text = encoder_of(clip, start.text.shape[-1], load)
                    walking = Walking(place, record, load, ProgressBar(recipe.steps, node))
                    speeds = paced(recipe.speeds, move_speed, turn_speed)
                    world = walking.walk(pipeline, start, speeds, goes_on or None, notes)
                    path = walked(start, world)
            finally:
                place.remark = record.kept
                if record.kept:
                    notes.append(record.kept)
                    logging.warning("HY-WorldPlay: %s", record.kept)
        return io.NodeOutput(record.video, world, path, ui={"text": [*said(world), *notes]})
