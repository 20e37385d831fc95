"""`hyworld generate`: picture, prompt and path → mp4, in a new world or a saved one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from PIL import Image

from .. import builtin, pipeline
from ..camera import Trajectory
from ..camera.units import other_pace
from ..config import TINY, TINY_RANDOM, WAN_5B, Preset, check_size
from ..errors import InputError
from ..modes import REMEMBERED, Modes, at_speed, decoder_at, why_slower
from ..parallel import RankLostError
from ..parallel.together import together
from ..picture import CropChoice, open_picture, size_like
from ..prompts import Prompts, parse_prompts, read_prompts, told_in_walk
from ..recipe_choice import recipe_for
from ..video import VideoWriter
from ..walk import WORLDPLAY, Progress, Recipe, World
from ..walk.autosave import Autosave
from ..walk.fit import standing_still
from ..walk.recipes import LATENTS
from ..walk.walker import NO_CAMERA
from ..weights import open_dit, open_vae
from .beginning import cut_off, encoded, preset_for, saved_world, speeds_of
from .console import console, note, notes, parse_size, reports_errors, stderr
from .launch import launch_if_asked
from .options import (
    KV,
    MODEL,
    SAVED,
    VAE,
    AllowBase,
    AnyModel,
    Attention,
    Averaged,
    BuiltIn,
    ColourMatch,
    Convolutions,
    Device,
    FromChunk,
    Gpus,
    Graphs,
    Guidance,
    HeadDim,
    ImageEncoder,
    Kernels,
    Linears,
    LowWeights,
    MoveSpeed,
    Negative,
    RecipeName,
    Remembered,
    Shift,
    Speed,
    SplitWeights,
    Steps,
    TextEncoder,
    TinyDecoder,
    TurnSpeed,
    Weights,
)
from .progress import WalkBar

DEFAULT_POSE = "w-3, right-14, left-14"
"""Turns until the first view is out of sight, and back."""

DEFAULT_ONWARDS = "w-4, right-14, left-14"
"""The same in a world that has chunks: the first pose is then no latent of the path."""

DEFAULT_OUTPUT = Path("walk.mp4")

PICTURE_SIZE = "picture"
"""What `--size` is for the picture's own shape."""

OUTPUT = "Output"


class Around(NamedTuple):
    """Who else has to do with a walk of this command.

    load: instead of `pipeline.load`, what may give a pipeline that is there already.
    watch: is told how far the walk is, and how many steps a chunk has and the walk chunks; None: a bar is shown.
    """

    load: Callable[..., pipeline.Pipeline] | None = None
    watch: Callable[[Progress, int, int], None] | None = None


around: ContextVar[Around] = ContextVar("around", default=Around())  # noqa: B039 - a tuple


@reports_errors
def generate(
    image: Annotated[
        Path | None,
        typer.Option(
            help="Picture the walk starts from, any size; it fills the frame and is cropped. Default: none, the prompt "
            "alone; the built-in world has a picture of its own."
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="<str>",
            help="What the world looks like. Again for new words on the way: '6: it starts to rain' holds once the "
            "world has 6 chunks ('6:30 in the morning' is words alone).",
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="Text file with the prompts instead, one in a line, such as '6: it starts to rain'."),
    ] = None,
    pose: Annotated[
        str | None,
        typer.Option(
            help="Camera path. Tokens: 'w-8, right-6, w+d-4' (w s a d move, up down left right or i k j l turn, "
            "orbit_left orbit_right circle; '+' combines keys; '-N' lasts N latents of 4 frames). Or a file of "
            f"poses (see hyworld trajectory --help). Default: '{DEFAULT_POSE}'. In a world that has chunks it begins "
            "where that ends."
        ),
    ] = None,
    chunks: Annotated[
        int,
        typer.Option(
            min=0,
            help="Chunks to generate. 0: as many as the path gives; of a model without a camera, as many as it was "
            "trained for.",
        ),
    ] = 0,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="The same seed gives the same walk. Default: 0; with --world, that world's."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Height x width in pixels, multiples of 32 (Wan 2.1: 16), or 'picture': the shape of --image. "
            "Default: the model's, 704x1280 (tiny: 160x288)."
        ),
    ] = None,
    crop: Annotated[
        CropChoice | None,
        typer.Option(help="The part of the picture that is kept where it is larger than the frame. Default: center."),
    ] = None,
    move_speed: MoveSpeed = None,
    turn_speed: TurnSpeed = None,
    third_person: Annotated[
        bool,
        typer.Option(
            "--third-person", help="Tell the model of turns as in third-person view (orbit tokens do so by themselves)."
        ),
    ] = False,
    world: Annotated[
        Path | None,
        typer.Option(
            help="Go on in a saved world, with its picture, size, seed and words. The video has the new frames alone.",
            rich_help_panel=SAVED,
        ),
    ] = None,
    from_chunk: FromChunk = None,
    any_model: AnyModel = False,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="After a crash or Ctrl-C: the same command with --resume walk.part.world makes the rest of the walk.",
            rich_help_panel=SAVED,
        ),
    ] = None,
    save_world: Annotated[
        Path | None,
        typer.Option(help="Save the world where the walk ends, to go on from: a .world file.", rich_help_panel=SAVED),
    ] = None,
    autosave: Annotated[
        int,
        typer.Option(
            min=0,
            help="Save the world every so many chunks of a longer walk as walk.part.world, which is deleted when the "
            "walk ends well; 0: never.",
            rich_help_panel=SAVED,
        ),
    ] = 4,
    preset: BuiltIn = None,
    weights: Weights = None,
    vae: VAE = None,
    text_encoder: TextEncoder = None,
    decoder: Annotated[
        str, typer.Option(help="full (the VAE) or tiny (faster, rougher).", rich_help_panel=MODEL)
    ] = "full",
    tiny_decoder: TinyDecoder = None,
    allow_base: AllowBase = False,
    head_dim: HeadDim = None,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16 or auto.", rich_help_panel=MODEL)] = "auto",
    speed: Speed = "exact",
    attention: Attention = "auto",
    kernels: Kernels = "auto",
    linears: Linears = "exact",
    convolutions: Convolutions = "exact",
    kv: KV = "auto",
    remembered: Remembered = REMEMBERED,
    graphs: Graphs = "auto",
    gpus: Gpus = 1,
    split_weights: SplitWeights = "auto",
    recipe: RecipeName = None,
    low_weights: LowWeights = None,
    image_encoder: ImageEncoder = None,
    negative: Negative = None,
    steps: Steps = None,
    shift: Shift = None,
    guidance: Guidance = None,
    colour_match: ColourMatch = None,
    ema: Averaged = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Video to write. Default: walk.mp4, or walk-2.mp4 if that exists, …",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace output and saved world if they exist.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Walk through a generated world: a picture, a prompt and a camera path in, an mp4 out.

    With no options at all it walks through the built-in world, which needs no
    download and no GPU. Elsewhere: hyworld generate --pose "w-8, left-15"

    The video is made, and written, in chunks of 16 frames (the first: 13); Ctrl-C
    keeps what there is. A latent is 4 frames, and a chunk 4 latents.
    """
    launch_if_asked(gpus, device)
    beside = around.get()
    modes = at_speed(speed, Modes(attention, kernels, linears, kv, graphs, remembered, convolutions), decoder)
    past = saved_world(
        world,
        from_chunk=from_chunk,
        seed=seed,
        any_model=any_model,
        of_new_worlds={"--image": image, "--size": size, "--crop": crop},
    )
    first = 0 if past is None else past.chunks
    walked = WORLDPLAY
    if weights is not None and vae is not None:  # else `load` says what is missing
        opened = open_dit(weights, allow_base=allow_base, head_dim=head_dim, ema=ema)
        walked = recipe_for(opened.config, weights, asked=recipe, two=low_weights is not None)
    speeds = speeds_of(walked, move_speed, turn_speed)
    if not walked.follows_camera:
        parts = _standing_still(walked, pose, chunks)
        path = None
    else:
        if pose is None:
            pose = DEFAULT_ONWARDS if first else DEFAULT_POSE
        path = Trajectory.load(pose, speeds=speeds, third_person=third_person or None)
        path = path if past is None else past.onwards(path)
        path = path.require_chunks(chunks, walked.chunk_latents, onwards=first > 0)
        parts = path.split(walked.chunk_latents)
    schedule = _schedule(prompt, prompts, first)
    told = told_in_walk(schedule, first, first + len(parts))
    kept = None if resume is None else World.load(resume)
    built_in = preset or (preset_for(past, str(world)) if weights is None else TINY.name)
    chosen = builtin.preset(built_in) if weights is None else WAN_5B
    picture = None if image is None else open_picture(image)
    default_size = chosen.size if weights is None else walked.size
    height, width = _height_width(size, picture, default_size, walked.spatial_stride) if past is None else past.size
    if weights is not None and vae is not None and text_encoder is None and (past is None or told):
        # Before a minute goes into loading; but errors in the given files come first.
        open_vae(vae)
        raise InputError(pipeline.TEXT_ENCODER_MISSING)

    fps = walked.frames_per_second
    video = VideoWriter(output or DEFAULT_OUTPUT, height, width, fps=fps, overwrite=overwrite, or_next=output is None)
    autosaved = Autosave(
        video.path.with_suffix(".part.world"),
        every=autosave if len(parts) > autosave else 0,
        target=save_world,
        overwrite=overwrite,
    )
    with _saying_what_is_kept(video, autosaved, first + len(parts)), autosaved, video:
        with stderr.status("loading the model"):
            load = beside.load or partial(together, pipeline.load, split=split_weights)
            loaded = load(
                weights,
                preset=built_in if weights is None else preset,
                vae=vae,
                text_encoder=text_encoder,
                decoder=decoder_at(speed, decoder),
                tiny_decoder=tiny_decoder,
                device=device,
                dtype=dtype,
                allow_base=allow_base,
                head_dim=head_dim,
                modes=modes,
                recipe=recipe,
                low_weights=low_weights,
                image_encoder=image_encoder,
                ema=ema,
                steps=steps,
                shift=shift,
                guidance=guidance,
                colour_match=colour_match,
            )
            here = past or loaded.start(
                picture,
                told.get(0, ""),
                seed=seed or 0,
                size=(height, width),
                crop=crop or "center",
                negative=negative,
            )
            words = encoded(loaded, told, here)
            planned = len(parts)
            if kept is not None:
                here, parts = cut_off(kept, str(resume), here, parts, words)
        bar = WalkBar(here.chunks, len(parts), loaded.walker.recipe.steps, watch=beside.watch)
        way = parts if path is not None else None
        walk = loaded.walker.walk(here, way, len(parts), words=words, on_progress=bar.show)
        # After all input checks, so that an error is the only line.
        if path is not None:
            notes([*path.notes, *filter(None, [other_pace(path.c2w, walked.speeds)])])
        if len(parts) < planned:
            note(f"{resume} has the first {planned - len(parts)} chunks of this walk; the rest is made")
        notes(_on_prompts(schedule, first + planned))
        notes(_on_model(chosen, built_in, prompted=any(told.values())))
        notes(filter(None, [why_slower(kernels, loaded.walker.device)]))
        before, began = here.video_frames, time.perf_counter()
        with bar:
            for chunk in walk:
                assert chunk.frames is not None
                here = chunk.world
                autosaved.keep(chunk)
                video.write(chunk.frames)
            video.flush()
        seconds = time.perf_counter() - began

    frames = here.video_frames - before
    made = f"{len(parts)} chunk{'s' * (len(parts) > 1)}"
    console.print(
        f"{video.path}: {frames} frames ({frames / fps:.1f} s at {fps} fps), "
        f"{height}x{width}, {made}, seed {here.seed}; made in {seconds:.1f} s ({frames / seconds:.1f} frames/s)",
        markup=False,
    )
    if autosaved.path is not None:
        console.print(f"{autosaved.path}: the world with {here.chunks} chunks; go on in it with --world", markup=False)


def _schedule(prompt: list[str] | None, file: Path | None, first: int) -> Prompts:
    if prompt and file is not None:
        raise InputError("The prompts are given twice: give either --prompt or --prompts.")
    return parse_prompts(prompt or (), first) if file is None else read_prompts(file)


def _on_prompts(schedule: Prompts, last: int) -> Iterator[str]:
    for chunks in schedule:
        if chunks >= last:
            yield f"the walk ends when the world has {last} chunks: the prompt for {chunks} is not told"


def _on_model(chosen: Preset, asked: str, *, prompted: bool) -> Iterator[str]:
    if chosen is TINY_RANDOM and asked == chosen.name:
        yield "tiny-random has random weights: it draws coloured noise"
    elif chosen is TINY_RANDOM:
        yield builtin.NOT_TRAINED
    elif chosen is TINY and prompted:
        yield "the built-in world understands no prompts: these change nothing"


def _standing_still(recipe: Recipe, pose: str | None, chunks: int) -> list[Trajectory]:
    """A chunk's cameras for each chunk of a walk without one."""
    if pose is not None:
        raise InputError(NO_CAMERA)
    return [standing_still(recipe.chunk_latents)] * (chunks or max(1, LATENTS // recipe.chunk_latents))


def _height_width(
    size: str | None, picture: Image.Image | None, default: tuple[int, int], spatial_stride: int
) -> tuple[int, int]:
    if size == PICTURE_SIZE:
        if picture is None:
            raise InputError(f"--size {PICTURE_SIZE} is the shape of a picture: give one with --image.")
        return size_like(picture, default, spatial_stride=spatial_stride)
    height, width = default if size is None else parse_size(size)
    check_size(height, width, spatial_stride)
    return height, width


@contextmanager
def _saying_what_is_kept(video: VideoWriter, autosaved: Autosave, chunks: int) -> Iterator[None]:
    """For a walk that ends when its world has so many chunks."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, RankLostError)) and video.frames_written:
            note(f"{video.path} holds the {video.frames_written} frames made so far")
        if autosaved.path is not None and autosaved.chunks < chunks:
            file, held = autosaved.path, f"{autosaved.chunks} chunk{'s' * (autosaved.chunks != 1)}"
            note(
                f"{file} holds the world with {held}: add --resume {file} to the same command for the rest of the "
                f"walk, or go elsewhere with --world {file}"
            )
        raise
