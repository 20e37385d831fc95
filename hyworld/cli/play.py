"""`hyworld play`: a page on this machine in which a person walks through the world while it is made."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from .. import builtin, pipeline
from ..apart import apart
from ..camera import Speeds
from ..config import TINY, WAN_5B, check_size
from ..cpu import multiplies_bfloat16
from ..errors import InputError
from ..live.files import page_files
from ..live.room import Room
from ..live.server import LOOPBACK, Server
from ..live.walking import Kept, Walking
from ..modes import REMEMBERED, Modes, at_speed, decoder_at, why_slower
from ..parallel.together import together
from ..picture import CropChoice, open_picture
from ..pipeline import Pipeline
from ..recipe_choice import recipe_for
from ..walk import WORLDPLAY, World
from ..walk.recipes import LATENTS
from ..weights import open_dit, open_vae
from .beginning import preset_for, saved_world, speeds_of
from .console import console, notes, parse_size, reports_errors, stderr
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
    HeadDim,
    Kernels,
    Linears,
    LowWeights,
    RecipeName,
    Remembered,
    Speed,
    SplitWeights,
    TextEncoder,
    TinyDecoder,
    Weights,
)

PORT = 8199

SERVER = "Server"


@reports_errors
def play(
    image: Annotated[
        Path | None,
        typer.Option(help="Picture the first walk starts from, any size. Default: the built-in world's own."),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(metavar="<str>", help="What the world looks like; in the page you can say other words."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="The same seed and the same keys give the same walk. Default: 0, or --world's."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Height x width in pixels, multiples of 32 (Wan 2.1: 16). Default: the model's, 704x1280 "
            "(tiny: 160x288)."
        ),
    ] = None,
    crop: Annotated[
        CropChoice | None,
        typer.Option(help="The part of --image that is kept where it is larger than the frame. Default: center."),
    ] = None,
    move_speed: Annotated[
        float | None,
        typer.Option(help="Distance a key covers per latent. Default: the model's own, 0.08 (DreamX-World: 0.3)."),
    ] = None,
    turn_speed: Annotated[
        float | None,
        typer.Option(help="Degrees a key turns per latent. Default: the model's own, 3 (DreamX-World: 6)."),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. With another than 127.0.0.1, such as 0.0.0.0, whoever has the printed address "
            "with its token can walk and watch; the connection is not encrypted.",
            rich_help_panel=SERVER,
        ),
    ] = LOOPBACK,
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Port to listen on, or the next free one; 0: any.", rich_help_panel=SERVER),
    ] = PORT,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address, open nothing.", rich_help_panel=SERVER)
    ] = False,
    world: Annotated[
        Path | None,
        typer.Option(help="Go on in a saved world, with its picture, size, seed and words.", rich_help_panel=SAVED),
    ] = None,
    from_chunk: FromChunk = None,
    any_model: AnyModel = False,
    autosave: Annotated[
        int,
        typer.Option(
            min=0,
            help="Save what is walked every so many chunks as live.world (live-2.world, …), which stays; 0: never.",
            rich_help_panel=SAVED,
        ),
    ] = 4,
    preset: BuiltIn = None,
    weights: Weights = None,
    vae: VAE = None,
    text_encoder: TextEncoder = None,
    decoder: Annotated[
        str | None,
        typer.Option(
            help="full (the VAE) or tiny (faster, rougher). Default: tiny for the built-in world and with "
            "--tiny-decoder, else full.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    tiny_decoder: TinyDecoder = None,
    allow_base: AllowBase = False,
    head_dim: HeadDim = None,
    device: Device = "auto",
    dtype: Annotated[
        str,
        typer.Option(
            help="float32, bfloat16, float16 or auto: bfloat16, but float32 on a CPU without instructions for it.",
            rich_help_panel=MODEL,
        ),
    ] = "auto",
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
    colour_match: ColourMatch = None,
    ema: Averaged = None,
) -> None:
    """Walk with keyboard, gamepad or touch through a world while it is made: a page in your browser.

    With no options at all it walks through the built-in world, which needs no
    download and no GPU. Models that follow no camera are steered with words
    alone. Ctrl-C ends it.
    """
    launch_if_asked(gpus, device)
    past = saved_world(
        world,
        from_chunk=from_chunk,
        seed=seed,
        any_model=any_model,
        of_new_worlds={"--image": image, "--size": size, "--crop": crop, "--prompt": prompt},
    )
    walked = WORLDPLAY
    if weights is not None and vae is not None:  # else `load` says what is missing
        opened = open_dit(weights, allow_base=allow_base, head_dim=head_dim, ema=ema)
        walked = recipe_for(opened.config, weights, asked=recipe, two=low_weights is not None)
        if walked.chunk_latents >= LATENTS:
            raise InputError(
                f"{weights} makes a clip in one go, so there is no walk to take part in: use hyworld generate."
            )
    speeds = speeds_of(walked, move_speed, turn_speed)
    built_in = preset or (preset_for(past, str(world)) if weights is None else TINY.name)
    chosen = builtin.preset(built_in) if weights is None else WAN_5B
    picture = None if image is None else open_picture(image)
    default_size = chosen.size if weights is None else walked.size
    height_width = default_size if size is None else parse_size(size)
    check_size(*height_width, walked.spatial_stride)
    if weights is not None and vae is not None and text_encoder is None and past is None:
        # Before a minute goes into loading; but errors in the given files come first.
        open_vae(vae)
        raise InputError(pipeline.TEXT_ENCODER_MISSING)
    page_files()  # is the page there? also before loading
    if decoder is None:
        own = "tiny" if tiny_decoder is not None else builtin.live_decoder(chosen)
        decoder = decoder_at(speed, own)
    modes = at_speed(speed, Modes(attention, kernels, linears, kv, graphs, remembered, convolutions), decoder)
    with stderr.status("loading the model"):
        loaded = apart(
            together,
            pipeline.load,
            weights,
            split=split_weights,
            preset=built_in if weights is None else preset,
            vae=vae,
            text_encoder=text_encoder,
            decoder=decoder,
            tiny_decoder=tiny_decoder,
            device=device,
            dtype=_dtype(dtype, device),
            allow_base=allow_base,
            head_dim=head_dim,
            modes=modes,
            recipe=recipe,
            low_weights=low_weights,
            colour_match=colour_match,
            ema=ema,
        ).result()
    notes(filter(None, [why_slower(kernels, loaded.walker.device)]))

    def first() -> World:
        return past or loaded.start(picture, prompt or "", seed=seed or 0, size=height_width, crop=crop or "center")

    show = None if no_browser or not _has_display() else webbrowser.open
    kept = asyncio.run(
        _serve(
            loaded,
            first,
            show,
            speeds,
            autosave,
            heeds_words=weights is not None,
            host=host,
            port=port,
            size=height_width,
        )
    )
    for file in kept:
        chunks = f"{file.chunks} chunk{'s' * (file.chunks != 1)}"
        console.print(f"{file.path}: the world with {chunks}; go on in it with --world {file.path}", markup=False)


def _dtype(asked: str, device: str) -> str:
    fits_cpu = asked == "auto" and pipeline.pick_device(device).type == "cpu" and multiplies_bfloat16()
    return "bfloat16" if fits_cpu else asked


async def _serve(
    loaded: Pipeline,
    first: Callable[[], World],
    show: Callable[[str], object] | None,
    speeds: Speeds,
    autosave: int,
    *,
    heeds_words: bool,
    host: str,
    port: int,
    size: tuple[int, int],
) -> list[Kept]:
    """Serve until Ctrl-C; returns what autosave left.

    show: is given the address.
    """
    loop = asyncio.get_running_loop()
    room, ended = Room(loop), asyncio.Event()
    walking = Walking(loaded, room, speeds=speeds, autosave=autosave, heeds_words=heeds_words)
    server: Server | None = None
    try:
        await asyncio.wrap_future(walking.begin(first))
        server = Server(walking, room, size=size, host=host, port=port)
        await server.start()
        with suppress(NotImplementedError):  # on Windows Ctrl-C cancels this instead
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, ended.set)
        console.print(f"{server.address}  (Ctrl-C ends it)", markup=False)
        if show is not None:
            threading.Thread(target=show, args=(server.address,), daemon=True).start()
        with suppress(asyncio.CancelledError):
            await ended.wait()
    finally:
        if server is not None:
            await server.close()
        await asyncio.to_thread(walking.close)
    return walking.kept


def _has_display() -> bool:
    """Whether a browser opened here is seen by who has started this."""
    if sys.platform in ("win32", "darwin"):
        return "SSH_CONNECTION" not in os.environ
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
