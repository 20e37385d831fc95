"""Streaming Sampler."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from itertools import chain
from typing import Any, get_args

from comfy_api.latest import io

from ..hyworld.camera import Trajectory as Path3D
from ..hyworld.camera.keys import Presses, relabel
from ..hyworld.config import CHUNK_LATENTS, PIXEL_MULTIPLE
from ..hyworld.modes import KVChoice
from ..hyworld.walk import Progress
from ..hyworld.walk import World as WorldValue
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
from .plan import Plan, notes_of, pipeline_of, start_of
from .preview import PreviewPlayer
from .results import Results
from .schema import Actions, Trajectory, World, schema

WORTH_SAYING = 100e6
"""Bytes of frames in memory."""


class StreamingSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        side = {"default": 0, "min": 0, "max": 4096, "step": PIXEL_MULTIPLE, "optional": True}
        return schema(
            node_id="HYWorldStreamingSampler",
            display_name="HY-WorldPlay Streaming Sampler",
            description=(
                "Walks the camera path through a world that starts from the first frame, the prompt, or a world walked "
                "before. Every chunk is 4 latents (16 frames; 13 the first time) and plays in the node while the next "
                "one is computed."
            ),
            search_aliases=["hyworld", "worldplay", "world model", "walk", "streaming video", "image to video"],
            inputs=[
                io.Model.Input("model", tooltip="From Load HY-WorldPlay Model, by way of LoRA nodes if you like."),
                io.Conditioning.Input("positive", tooltip="The prompt. There is no negative one: it is distilled in."),
                io.Vae.Input("vae", tooltip="The Wan 2.2 VAE (Load VAE), or that of Tiny World."),
                Trajectory.Input("trajectory", tooltip="Where the camera goes."),
                io.Latent.Input(
                    "first_frame",
                    optional=True,
                    tooltip="The picture the walk starts from (Encode First Frame); without it, the prompt alone.",
                ),
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
                    "chunks", default=0, min=0, max=4096, tooltip="Chunks to generate; 0 is as many as the path gives."
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
                    tooltip="What turns latents into frames: the VAE, or a tiny decoder, faster and rougher: the "
                    "built-in world's own, or taew2_2 from models/vae_approx for WorldPlay.",
                ),
                io.Boolean.Input(
                    "preview", default=True, tooltip="Play finished chunks in the node while the walk goes on."
                ),
                io.Int.Input("width", **side, tooltip="Width in pixels without a first frame; 0 is the model's own."),
                io.Int.Input("height", **side, tooltip="Height in pixels without a first frame; 0 is the model's own."),
                io.Combo.Input(
                    "kv_memory",
                    options=list(get_args(KVChoice)),
                    default="auto",
                    optional=True,
                    tooltip="How remembered latents are kept: compact takes half the memory and some time, fast the "
                    "other way round. auto is compact with triton kernels, where that costs 2 %, and else fast.",
                ),
                io.Boolean.Input(
                    "reuse",
                    default=True,
                    optional=True,
                    tooltip="If the last run had the same model, prompt, seed and first frame, walk only from where "
                    "the path differs. The video is the same, bit for bit, as if all were walked again.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="All frames, 16 a second. For Create Video."),
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
        trajectory: Path3D,
        chunks: int,
        seed: int,
        decoder: str,
        preview: bool,
        first_frame: Any = None,
        actions: Presses | None = None,
        world: WorldValue | None = None,
        width: int = 0,
        height: int = 0,
        kv_memory: KVChoice = "auto",
        reuse: bool = True,
    ) -> io.NodeOutput:
        patcher = require_worldplay(model)
        node, prompt = cls.hidden.unique_id, cls.hidden.prompt
        host_vae = HostVAE(vae)
        pipeline, frames_from = pipeline_of(patcher, host_vae, decoder, kv_memory)
        words = words_of(positive, text_behind(prompt, node, "positive"))
        if actions is not None:
            trajectory = relabel(trajectory, list(actions.keys))
        start = start_of(pipeline, host_vae, words, world, first_frame, (height, width), seed)
        walked = start.onwards(trajectory).require_chunks(chunks, onwards=start.chunks > 0)
        parts = walked.split(CHUNK_LATENTS)
        last = LastWalk(patcher, node, compact=pipeline.walker.compact_memory)
        known = last.shared_with(start, parts, words) if reuse else start
        notes = [*lora_notes(patcher), *idle_patches(patcher)]
        for note in notes:
            logging.warning("HY-WorldPlay: %s", note)
        notes += notes_of(start, known, () if chunks else walked.notes[len(trajectory.notes) :])
        plan = Plan(pipeline, host_vae, frames_from, start, parts, words, known)

        with Results(plan, kept_outputs(prompt, node)) as results:
            world = _walk(plan, patcher, node, last, results, shown=is_shown(prompt, node, preview))
        latents = results.latents(world.history[start.chunks :])
        return io.NodeOutput(results.images, latents, plan.frames, world, results.video, ui={"text": notes})


def _walk(
    plan: Plan, patcher: Any, node_id: str | None, last: LastWalk, results: Results, *, shown: bool
) -> WorldValue:
    """Walk as planned, with the host's memory, progress and previews; returns the world after it."""
    start, known, steps = plan.start, plan.known, plan.walker.recipe.steps
    with ExitStack() as stack:
        bar = ProgressBar(len(plan.parts) * steps, node_id)
        player = stack.enter_context(PreviewPlayer(NodeScreen(), str(node_id)))

        def report(progress: Progress) -> None:
            raise_if_interrupted()
            bar.update((progress.chunk - start.chunks) * steps + progress.step)

        if results.image_bytes >= WORTH_SAYING:
            bar.say(f"images is wired: {plan.frames} frames will take {results.image_bytes / 1e9:.1f} GB of memory")
        load = stack.enter_context(in_memory(plan.walker, patcher, plan.vae, plan.decoder, start))
        if plan.walker.network.fused and plan.ahead:
            bar.say("GPU kernels are built, some seconds the first time")
        again = plan.pipeline.replay(known, start.chunks)
        walk = plan.pipeline.walk(known, plan.ahead, prompts=plan.words, on_progress=report)
        world, began = start, time.perf_counter()
        for chunk in chain(again, walk):
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
