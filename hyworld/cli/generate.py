"""`hyworld generate`: picture, prompt and path → mp4."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .. import builtin, pipeline
from ..camera import Speeds, Trajectory
from ..config import FRAMES_PER_SECOND, TINY, TINY_RANDOM, WAN_5B, check_size, frames_in
from ..errors import InputError
from ..modes import Modes, why_slower
from ..picture import CropChoice, open_picture, size_like
from ..video import VideoWriter
from ..walk import WORLDPLAY
from ..walk import Progress as WalkProgress
from ..weights import open_dit, open_vae
from .console import console, note, notes, parse_size, reports_errors, stderr
from .options import KV, Attention, Graphs, Kernels, Linears

DEFAULT_POSE = "w-3, right-14, left-14"
"""Turns until the first view is out of sight, and back."""

DEFAULT_OUTPUT = Path("walk.mp4")

PICTURE_SIZE = "picture"
"""What `--size` is for the picture's own shape."""

MODEL = "Model (default: the built-in world)"
OUTPUT = "Output"


@reports_errors
def generate(
    image: Annotated[
        Path | None,
        typer.Option(
            help="Picture the walk starts from, any size; it fills the frame and is cropped. Default: none, the prompt "
            "alone; the built-in world has a picture of its own."
        ),
    ] = None,
    prompt: Annotated[str, typer.Option(help="What the world looks like.")] = "",
    pose: Annotated[
        str,
        typer.Option(
            help="Camera path. Tokens: 'w-8, right-6, w+d-4' (w s a d move, up down left right turn, orbit_left "
            "orbit_right circle; '+' combines keys; '-N' lasts N latents of 4 frames). Or a JSON file of poses."
        ),
    ] = DEFAULT_POSE,
    chunks: Annotated[
        int, typer.Option(min=0, help="Chunks of 4 latents to generate; 0 means as many as the path gives.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same walk.")] = 0,
    size: Annotated[
        str | None,
        typer.Option(
            help="Height x width in pixels, multiples of 32, or 'picture': the shape of --image. Default: 704x1280 "
            "(tiny: 160x288)."
        ),
    ] = None,
    crop: Annotated[
        CropChoice, typer.Option(help="The part of the picture that is kept where it is larger than the frame.")
    ] = "center",
    move_speed: Annotated[float, typer.Option(help="Distance a move token covers per latent.")] = Speeds().move,
    turn_speed: Annotated[float, typer.Option(help="Degrees a turn token covers per latent.")] = Speeds().turn_deg,
    third_person: Annotated[
        bool, typer.Option("--third-person", help="Label turns as in third-person view (implied by orbit tokens).")
    ] = False,
    preset: Annotated[
        Literal["tiny", "tiny-random"] | None,
        typer.Option(
            help="Built-in model: tiny walks through rooms (default), tiny-random draws noise (for tests).",
            rich_help_panel=MODEL,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Transformer: model.pt, safetensors or a folder.", rich_help_panel=MODEL),
    ] = None,
    vae: Annotated[
        Path | None, typer.Option(help="Wan 2.2 VAE: wan2.2_vae.safetensors or .pth.", rich_help_panel=MODEL)
    ] = None,
    text_encoder: Annotated[
        Path | None,
        typer.Option(
            help="Diffusers-layout folder with UMT5-XXL, or a safetensors file of ready embeddings.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    decoder: Annotated[
        str, typer.Option(help="full (the VAE) or tiny (faster, rougher).", rich_help_panel=MODEL)
    ] = "full",
    tiny_decoder: Annotated[
        Path | None, typer.Option(help="TAEHV weights, taew2_2.pth.", rich_help_panel=MODEL)
    ] = None,
    allow_base: Annotated[
        bool,
        typer.Option(
            "--allow-base", help="Accept a base Wan 2.2 model, without camera control.", rich_help_panel=MODEL
        ),
    ] = False,
    head_dim: Annotated[
        int | None,
        typer.Option(min=1, help="Channels per head, for small models whose file does not say.", rich_help_panel=MODEL),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N, mps or auto.", rich_help_panel=MODEL)] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16 or auto.", rich_help_panel=MODEL)] = "auto",
    attention: Attention = "auto",
    kernels: Kernels = "auto",
    linears: Linears = "exact",
    kv: KV = "auto",
    graphs: Graphs = "auto",
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
        bool, typer.Option("--overwrite", help="Replace the output if it exists.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Walk through a generated world: a picture, a prompt and a camera path in, an mp4 out.

    With no options at all it walks through the built-in world, which needs no download and no GPU.
    The video is written while it is made; Ctrl-C keeps what there is.
    """
    speeds = Speeds(move=move_speed, turn_deg=turn_speed)
    path = Trajectory.load(pose, speeds=speeds, third_person=third_person or None).require_chunks(chunks)
    chosen = builtin.preset(preset or TINY.name) if weights is None else WAN_5B
    picture = None if image is None else open_picture(image)
    height, width = _height_width(size, picture, chosen.size)
    if weights is not None and vae is not None and text_encoder is None:
        # Before a minute goes into loading; but errors in the given files come first.
        open_vae(vae)
        open_dit(weights, allow_base=allow_base, head_dim=head_dim)
        raise InputError(pipeline.TEXT_ENCODER_MISSING)

    video = VideoWriter(output or DEFAULT_OUTPUT, height, width, overwrite=overwrite, or_next=output is None)
    with _saying_what_is_kept(video), video, ExitStack() as stack:
        with stderr.status("loading the model"):
            loaded = pipeline.load(
                weights,
                preset=chosen.name if weights is None else preset,
                vae=vae,
                text_encoder=text_encoder,
                decoder=decoder,
                tiny_decoder=tiny_decoder,
                device=device,
                dtype=dtype,
                allow_base=allow_base,
                head_dim=head_dim,
                modes=Modes(attention=attention, kernels=kernels, linears=linears, kv=kv, graphs=graphs),
            )
            world = loaded.start(picture, prompt, seed=seed, size=(height, width), crop=crop)
        # After all input checks, so that an error is the only line.
        notes(path.notes)
        slower = why_slower(kernels, loaded.walker.device)
        if slower:
            note(slower)
        if chosen is TINY_RANDOM:
            note(
                "tiny-random has random weights: it draws coloured noise"
                if preset == chosen.name
                else builtin.NOT_TRAINED
            )
        elif chosen is TINY and prompt:
            note("the built-in world understands no prompts: this one changes nothing")
        bar = stack.enter_context(
            Progress(
                TextColumn("chunk {task.fields[chunk]} of {task.fields[chunks]}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("steps"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=stderr,
            )
        )
        task = bar.add_task("walk", total=path.chunks * WORLDPLAY.steps, chunk=1, chunks=path.chunks)

        def show(progress: WalkProgress) -> None:
            done = progress.chunk * WORLDPLAY.steps + progress.step
            bar.update(task, completed=done, chunk=min(progress.chunk + 1, path.chunks))

        began = time.perf_counter()
        for chunk in loaded.walk(world, path, on_progress=show):
            assert chunk.frames is not None
            video.write(chunk.frames)
        video.flush()
        seconds = time.perf_counter() - began

    frames = frames_in(len(path))
    console.print(
        f"{video.path}: {frames} frames ({frames / FRAMES_PER_SECOND:.1f} s at {FRAMES_PER_SECOND} fps), "
        f"{height}x{width}, {path.chunks} chunk{'s' * (path.chunks > 1)}, seed {seed}; made in {seconds:.1f} s "
        f"({frames / seconds:.1f} frames/s)",
        markup=False,
    )


def _height_width(size: str | None, picture: Image.Image | None, default: tuple[int, int]) -> tuple[int, int]:
    if size == PICTURE_SIZE:
        if picture is None:
            raise InputError(f"--size {PICTURE_SIZE} is the shape of a picture: give one with --image.")
        return size_like(picture, default)
    height, width = default if size is None else parse_size(size)
    check_size(height, width)
    return height, width


@contextmanager
def _saying_what_is_kept(video: VideoWriter) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if video.frames_written:
            note(f"{video.path} holds the {video.frames_written} frames made so far")
        raise
