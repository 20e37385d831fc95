"""Streaming Sampler."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Any

from comfy_api.latest import io

from ..hyworld.camera import Trajectory as Path3D
from ..hyworld.camera.keys import Presses
from ..hyworld.modes import KVChoice
from ..hyworld.walk import Progress
from ..hyworld.walk import World as WorldValue
from . import shared_inputs as shared
from .host.clip import words_of
from .host.idle import idle_patches
from .host.lora import lora_notes
from .host.model import require_worldplay
from .host.prompt import text_behind
from .host.run import ProgressBar, raise_if_interrupted
from .host.screen import NodeScreen
from .host.vae import FULL_DECODER, HostVAE, decoder_names
from .idle_inputs import is_shown, kept_outputs
from .last_walk import LastWalk
from .literals import check_walk
from .memory import in_memory
from .plan import Plan, notes_of, parts_of, pipeline_of, start_of, told_of
from .preview import PreviewPlayer
from .results import Results
from .schema import Actions, Trajectory, World, schema

WORTH_SAYING = 100e6
"""Bytes of frames in memory."""


class StreamingSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HYWorldStreamingSampler",
            display_name="HY-WorldPlay Streaming Sampler",
            advanced_inputs=("preview", "kv_memory", "reuse", "colour_match"),
            description=(
                "Walks the camera path through a world that starts from the first frame, the prompt, or a world walked "
                "before. Models without a camera (Self-Forcing, TI2V-5B, Wan) make as many chunks as asked for. Every "
                "chunk (of WorldPlay: 16 frames, 13 the first time) plays in the node while the next one is computed."
            ),
            search_aliases=[
                *("hyworld", "worldplay", "world model", "walk", "streaming video", "image to video"),
                *("text to video", "wan", "self-forcing", "causal-forcing"),
            ],
            inputs=[
                shared.model(),
                io.Conditioning.Input("positive", tooltip="The prompt; several by way of Prompt Schedule."),
                io.Vae.Input(
                    "vae",
                    tooltip="The model's VAE (Load VAE): Wan 2.2 for WorldPlay and TI2V-5B, Wan 2.1 for the others; or "
                    "that of Tiny World.",
                ),
                Trajectory.Input(
                    "trajectory",
                    optional=True,
                    tooltip="Where the camera goes. WorldPlay and DreamX-World need it; models without a camera take "
                    "chunks alone.",
                ),
                shared.first_frame(),
                Actions.Input(
                    "actions", optional=True, tooltip="Keys that replace the trajectory's labels (Action Sequence)."
                ),
                World.Input(
                    "world",
                    optional=True,
                    tooltip="A world to go on in, from another sampler. The path then starts where that walk ended; "
                    "first frame, size and seed are that world's.",
                ),
                io.Int.Input(
                    "chunks",
                    default=0,
                    min=0,
                    max=4096,
                    tooltip="Chunks to generate; 0 is as many as the path gives. Models without a camera need a "
                    "number.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The same seed gives the same world, however long the walk.",
                ),
                io.Combo.Input(
                    "decoder",
                    options=decoder_names(),
                    default=FULL_DECODER,
                    tooltip="What turns latents into frames: the VAE; the same with convolutions in fp8, faster at a "
                    "little error, for cards from Hopper on; or a tiny decoder, faster still and rougher: "
                    "the built-in world's own, or from models/vae_approx taew2_2 for the Wan 2.2 VAE, lighttaew2_1 or "
                    "taew2_1 for that of Wan 2.1; or between them a narrower decoder of the VAE's kind, MG-LightVAE.",
                ),
                io.Boolean.Input(
                    "preview", default=True, tooltip="Play finished chunks in the node while the walk goes on."
                ),
                *shared.size(),
                shared.kv_memory(),
                io.Boolean.Input(
                    "reuse",
                    default=True,
                    optional=True,
                    tooltip="If the last run had the same model, prompt, seed and first frame, walk only from where "
                    "the path differs. The video is the same, bit for bit, as if all were walked again.",
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="What guidance leads away from. TI2V-5B and Wan need it; WorldPlay, Self-Forcing and "
                    "Causal-Forcing have none. A world that goes on has its own.",
                ),
                io.ClipVisionOutput.Input(
                    "clip_vision_output",
                    optional=True,
                    tooltip="The picture for the models that read it (Wan 2.1 I2V), from CLIP Vision Encode.",
                ),
                io.Model.Input(
                    "low_noise_model",
                    optional=True,
                    tooltip="The second network of Wan 2.2 14B; model is then its high-noise one.",
                ),
                shared.colour_match(),
            ],
            outputs=[
                io.Image.Output(
                    display_name="images", tooltip="All frames, 16 a second (24 of TI2V-5B). For Create Video."
                ),
                io.Latent.Output(display_name="latents", tooltip="All latents, as the VAE takes them."),
                io.Int.Output(display_name="frame_count", tooltip="Number of frames."),
                World.Output(
                    display_name="world", tooltip="The world so far: to go on in, or for the Memory Inspector."
                ),
                io.Video.Output(
                    display_name="video",
                    tooltip="The video, written while the walk goes on, for Save Video: unlike images it needs memory "
                    "for one chunk, however long the walk.",
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        )

    @classmethod
    def validate_inputs(cls, chunks: int | None = None) -> bool | str:
        if chunks is not None and not isinstance(chunks, int):
            return True  # not a number, which the host reports
        if chunks is not None and not 0 <= chunks <= 4096:
            return f"The number of chunks must be 0 to 4096, got {chunks}."
        return check_walk(cls.hidden.unique_id, chunks)

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        vae: Any,
        chunks: int,
        seed: int,
        decoder: str,
        preview: bool,
        trajectory: Path3D | None = None,
        first_frame: Any = None,
        actions: Presses | None = None,
        world: WorldValue | None = None,
        width: int = 0,
        height: int = 0,
        kv_memory: KVChoice = "auto",
        reuse: bool = True,
        negative: Any = None,
        clip_vision_output: Any = None,
        low_noise_model: Any = None,
        colour_match: float = 1.0,
    ) -> io.NodeOutput:
        patcher = require_worldplay(model)
        models = [patcher] if low_noise_model is None else [patcher, require_worldplay(low_noise_model)]
        node, prompt = cls.hidden.unique_id, cls.hidden.prompt
        host_vae = HostVAE(vae)
        pipeline, frames_from = pipeline_of(
            patcher, host_vae, decoder, kv_memory, *models[1:], colour_match=colour_match
        )
        words = words_of(positive, text_behind(prompt, node, "positive"))
        away = None if negative is None else words_of(negative, text_behind(prompt, node, "negative"))
        told = told_of(pipeline.walker, away, clip_vision_output)
        start = start_of(pipeline, host_vae, words, world, first_frame, (height, width), seed, told)
        parts, of_path = parts_of(pipeline.walker, start, trajectory, actions, chunks)
        last = LastWalk(patcher, node, compact=pipeline.walker.compact_memory, second=(None, *models[1:])[-1])
        known = last.shared_with(start, parts, words) if reuse else start
        notes = [*told.notes, *(note for each in models for note in (*lora_notes(each), *idle_patches(each)))]
        for note in notes:
            logging.warning("HY-WorldPlay: %s", note)
        notes += [*of_path, *notes_of(start, known)]
        plan = Plan(pipeline, host_vae, frames_from, start, parts, words, known)

        with Results(plan, kept_outputs(prompt, node)) as results:
            world = _walk(plan, models, node, last, results, shown=is_shown(prompt, node, preview))
        latents = results.latents(world.history[start.chunks :])
        return io.NodeOutput(results.images, latents, plan.frames, world, results.video, ui={"text": notes})


def _walk(
    plan: Plan, models: Sequence[Any], node_id: str | None, last: LastWalk, results: Results, *, shown: bool
) -> WorldValue:
    """Walk as planned, with the host's memory, progress and previews; returns the world after it."""
    start, known, steps = plan.start, plan.known, plan.walker.recipe.steps
    with ExitStack() as stack:
        bar = ProgressBar(len(plan.parts) * steps, node_id)
        player = stack.enter_context(PreviewPlayer(NodeScreen(), str(node_id), plan.walker.recipe.frames_per_second))

        def report(progress: Progress) -> None:
            raise_if_interrupted()
            bar.update((progress.chunk - start.chunks) * steps + progress.step)

        if results.image_bytes >= WORTH_SAYING:
            bar.say(f"images is wired: {plan.frames} frames will take {results.image_bytes / 1e9:.1f} GB of memory")
        load = stack.enter_context(in_memory(plan.walker, models, plan.vae, plan.decoder, start))
        if plan.walker.network.fused and plan.ahead:
            bar.say("GPU kernels are built, some seconds the first time")
        again = plan.pipeline.replay(known, start.chunks)
        world, began = start, time.perf_counter()
        for chunk in chain(again, plan.walk(report)):
            results.add(chunk)
            world = chunk.world
            if shown:
                player.play(chunk.frames)
            pace = len(chunk.frames) / (time.perf_counter() - began)
            bar.say(f"Chunk {world.chunks} of {plan.end}: {pace:.1f} frames per second")
            if world.chunks > known.chunks:
                last.keep(world)
            else:
                bar.update((world.chunks - start.chunks) * steps)
            raise_if_interrupted()
            if world.chunks < plan.end:
                load()
            began = time.perf_counter()
    return world
