"""Streaming Sampler."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from typing import Any, get_args

import torch
from comfy_api.latest import io
from torch import Tensor

from ..hyworld.camera import Trajectory as Path3D
from ..hyworld.camera.keys import Keys, relabel
from ..hyworld.config import CHUNK_LATENTS, PIXEL_MULTIPLE, TINY, VAE_SPATIAL_STRIDE, WAN_5B, frames_in
from ..hyworld.errors import InputError
from ..hyworld.modes import KVChoice, Modes, keeps_compact
from ..hyworld.pipeline import Pipeline
from ..hyworld.walk import Progress, Step, Walker
from ..hyworld.walk import World as WorldValue
from ..hyworld.walk.decoding import Decoding
from .frames import Frames
from .host.clip import embeddings
from .host.idle import idle_patches
from .host.lora import lora_notes
from .host.model import HostNetwork, require_worldplay
from .host.run import (
    ProgressBar,
    explains_out_of_memory,
    load_together,
    memory_for_walk,
    output_device,
    raise_if_interrupted,
    running,
)
from .host.screen import NodeScreen
from .host.vae import FULL_DECODER, HostVAE, decoder_names, pick_decoder
from .idle_inputs import SHOWN
from .last_walk import LastWalk
from .literals import check_walk
from .preview import PreviewPlayer
from .schema import Actions, Trajectory, World, schema


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
                    tooltip="What turns latents into frames: the VAE, or a tiny decoder (taew2_2) from "
                    "models/vae_approx, faster and rougher.",
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
        actions: tuple[Keys, ...] | None = None,
        world: WorldValue | None = None,
        width: int = 0,
        height: int = 0,
        kv_memory: KVChoice = "auto",
        reuse: bool = True,
    ) -> io.NodeOutput:
        patcher = require_worldplay(model)
        network, host_vae = HostNetwork(patcher), HostVAE(vae)
        frames_from = pick_decoder(decoder, host_vae)
        walker = Walker(
            network,
            decoding=Decoding(
                frames_from, device=frames_from.device, dtype=frames_from.dtype, caches=frames_from.caches
            ),
            device=patcher.load_device,
            dtype=network.dtype,
            compact_memory=keeps_compact(Modes(kv=kv_memory), fused=network.fused),
        )
        channels = network.config.latent_channels
        preset = WAN_5B if channels == WAN_5B.dit.latent_channels else TINY
        pipeline = Pipeline(walker, host_vae, size=preset.size)

        text = embeddings(positive)
        if actions is not None:
            trajectory = relabel(trajectory, list(actions))
        if world is None:
            first = None if first_frame is None else _normalised(first_frame, host_vae, width, height)
            asked = (height or preset.size[0], width or preset.size[1]) if first is None else None
            start = pipeline.start(first, text, seed=seed, size=asked)
        else:
            start = replace(world, text=text)
        walked = start.onwards(trajectory).require_chunks(chunks, onwards=start.chunks > 0)
        parts = walked.split(CHUNK_LATENTS)
        last = LastWalk(patcher, cls.hidden.unique_id, compact=walker.compact_memory)
        known = last.shared_with(start, parts) if reuse else start
        notes = [*lora_notes(patcher), *idle_patches(patcher)]
        for note in notes:
            logging.warning("HY-WorldPlay: %s", note)
        notes += _notes(start, known, () if chunks else walked.notes[len(trajectory.notes) :])
        steps, end = walker.recipe.steps, start.chunks + len(parts)

        with ExitStack() as stack:
            needed = memory_for_walk(walker, start.latent_shape[1:], tiny=frames_from is not host_vae)
            stack.enter_context(explains_out_of_memory(_what_would_fit(start, needed, walker.compact_memory)))
            stack.callback(walker.decoding.caches.park)

            def load() -> None:
                load_together(patcher, frames_from.patcher, memory_required=needed)

            bar = ProgressBar(len(parts) * steps, cls.hidden.unique_id)
            player = stack.enter_context(PreviewPlayer(NodeScreen(), str(cls.hidden.unique_id)))
            shown = (
                preview if cls.hidden.prompt is None else _is_shown(cls.hidden.prompt, cls.hidden.unique_id, preview)
            )

            def report(progress: Progress) -> None:
                raise_if_interrupted()
                bar.update((progress.chunk - start.chunks) * steps + progress.step)

            again = pipeline.replay(known, start.chunks)
            walk = pipeline.walk(known, parts[known.chunks - start.chunks :], on_progress=report)
            load()
            stack.enter_context(running(patcher))
            if network.fused and known.chunks < end:
                bar.say("GPU kernels are built, some seconds the first time")
            frames = Frames(frames_in(end * CHUNK_LATENTS) - start.video_frames, start.size, output_device())
            began = time.perf_counter()
            for chunk in chain(again, walk):
                frames.append(chunk.frames)
                world = chunk.world
                if shown:
                    player.play(chunk.frames)
                pace = len(chunk.frames) / (time.perf_counter() - began)
                bar.say(f"Chunk {world.chunks} of {end}: {pace:.1f} frames per second")
                if world.chunks > known.chunks:
                    last.keep(world)
                else:
                    bar.update((world.chunks - start.chunks) * steps)
                raise_if_interrupted()
                if world.chunks < end:
                    load()
                began = time.perf_counter()

        latents = {"samples": _raw(world.history[start.chunks :], host_vae)}
        return io.NodeOutput(frames.images, latents, len(frames.images), world, ui={"text": notes})


def _notes(start: WorldValue, known: WorldValue, of_path: tuple[str, ...]) -> list[str]:
    """What the user should know of a walk from `start` that shares `known` with the last one."""
    shared = known.chunks - start.chunks
    if not shared:
        return list(of_path)
    those = f"Chunk {known.chunks} is" if shared == 1 else f"Chunks {start.chunks + 1} to {known.chunks} are"
    return [*of_path, f"{those} known from the last run and only decoded again (reuse)."]


def _is_shown(prompt: dict[str, Any], node_id: str | None, preview: bool) -> bool:
    """Whether chunks are to be played: see `idle_inputs`; `preview` if the prompt says nothing."""
    told: bool = prompt.get(node_id, {}).get("_meta", {}).get(SHOWN, preview)
    return told


def _normalised(first_frame: Any, vae: HostVAE, width: int, height: int) -> Tensor:
    """The first frame's latent, normalised; raises `InputError` if it is another VAE's or of another size."""
    raw = first_frame["samples"].float()
    if raw.ndim != 5 or tuple(raw.shape[:3]) != (1, vae.latent_channels, 1):
        raise InputError(
            f"The first frame must be one latent of shape [1, {vae.latent_channels}, 1, h, w], got {list(raw.shape)}: "
            "connect Encode First Frame with the VAE of this model."
        )
    given = (raw.shape[4] * VAE_SPATIAL_STRIDE, raw.shape[3] * VAE_SPATIAL_STRIDE)
    asked = (width or given[0], height or given[1])
    if asked != given:
        raise InputError(
            f"The first frame is {given[0]}x{given[1]}, but {asked[0]}x{asked[1]} is asked for: set the size in "
            "Encode First Frame and leave width and height at 0 here."
        )
    return vae.normalise(raw)


def _raw(history: tuple[Step, ...], vae: HostVAE) -> Tensor:
    """The latents of these chunks as LATENT sockets carry them, chunk by chunk so that they lie in memory once."""
    n = CHUNK_LATENTS
    _, C, _, h, w = history[0].latents.shape
    raw = torch.empty((1, C, n * len(history), h, w), device=output_device())
    for i, step in enumerate(history):
        raw[:, :, i * n : (i + 1) * n] = vae.denormalise(step.latents)
    return raw


def _what_would_fit(world: WorldValue, needed: int, compact: bool) -> str:
    """The error text for too little GPU memory; `needed` is in bytes."""
    height, width = world.size
    smaller = next(((w, h) for w, h in ((832, 480), (640, 352), (448, 256)) if w * h < width * height), None)
    example = f" such as {smaller[0]}x{smaller[1]}" if smaller else ""
    memory = "" if compact else "kv_memory compact, "
    return (
        f"There is not enough GPU memory for a walk at {width}x{height} (about {needed / 1e9:.0f} GB beside the "
        f"weights): choose a smaller size{example}, {memory}weight_dtype fp8_e4m3fn, or the tiny decoder."
    )
