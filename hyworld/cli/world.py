"""`hyworld world`: what is in a saved world, its map, and its walk decoded again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image
from rich.progress import track
from torch import Tensor

from .. import builtin
from ..atomic import check_new_file
from ..camera import draw_top_down
from ..camera.recover import in_words
from ..config import FRAMES_PER_SECOND, TINY, frames_in
from ..errors import InputError
from ..fingerprint import same_model
from ..modes import set_vae_kernels
from ..pipeline import pick_device, pick_dtype
from ..sheet import Entry, contact_sheet, small
from ..vae import CausalVAE
from ..video import VideoWriter
from ..walk import World
from ..walk.decoding import Decoding
from ..walk.world import told_by_chunk
from ..weights import load_vae, open_dit
from .console import console, reports_errors, stderr, write_whole

MOST_PICTURES = 96
"""On a sheet; of longer walks it has every second chunk, every third, …"""


@reports_errors
def world(
    file: Annotated[Path, typer.Argument(help="A world that --save-world, a crash or Save World left.")],
    map_file: Annotated[
        Path | None, typer.Option("--map", help="Draw the path walked from above: a .png file.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Draw the last frame of each chunk on a contact sheet: a .png file.")
    ] = None,
    video: Annotated[
        Path | None, typer.Option(help="Decode the whole walk again, from its first frame: an .mp4 file.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="A transformer: say if it made the world.")] = None,
    vae: Annotated[
        Path | None, typer.Option(help="Wan 2.2 VAE for --sheet and --video. Default: that of the built-in world.")
    ] = None,
    head_dim: Annotated[
        int | None, typer.Option(min=1, help="Channels per head, for small models whose file does not say.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N, mps or auto.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16 or auto.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Say what is in a saved world: its length, path, words, seed, and the model it was made by.

    The words are listed as `hyworld generate --prompts` reads them.
    """
    opened = World.load(file)
    for target, suffix in ((map_file, ".png"), (sheet, ".png"), (video, ".mp4")):
        if target is not None:
            check_new_file(target, suffix, overwrite=overwrite)
            if not opened.chunks:
                raise InputError(f"{file} has no chunks yet, so there is nothing to draw: walk in it first.")
    made_by = _made_by(opened, weights, head_dim)
    decoder = _vae_of(opened, file, vae) if sheet is not None or video is not None else None

    for line in _lines(opened, file):
        console.print(line, markup=False)
    console.print(made_by, markup=False)
    if map_file is not None:
        drawing = draw_top_down(opened.path, memory=opened.memory_frames)
        _write_picture(drawing, "map", map_file, overwrite=overwrite)
    if decoder is not None:
        where = pick_device(device)
        decoding = Decoding(decoder.to(where, pick_dtype(dtype, where)), device=where, dtype=pick_dtype(dtype, where))
        set_vae_kernels(decoder, "auto", where)
        writer = nullcontext() if video is None else VideoWriter(video, *opened.size, overwrite=overwrite)
        entries = []
        with writer as film:
            frames = track(decoding.replay(opened), "decoding", total=opened.chunks, console=stderr, transient=True)
            for chunk, pictures in enumerate(frames):
                if film is not None:
                    film.write(pictures)
                if sheet is not None and chunk % _every(opened) == 0:
                    entries.append(_entry(opened, chunk, pictures))
        if video is not None:
            console.print(f"video: {video}, {opened.video_frames} frames", markup=False)
        if sheet is not None:
            _write_picture(contact_sheet(entries), "sheet", sheet, overwrite=overwrite)


def _lines(world: World, file: Path) -> Iterator[str]:
    height, width = world.size
    seconds = world.video_frames / FRAMES_PER_SECOND
    yield (
        f"{file}: {world.chunks} chunk{'s' * (world.chunks != 1)}, {world.video_frames} frames ({seconds:.1f} s at "
        f"{FRAMES_PER_SECOND} fps), {height}x{width}, seed {world.seed}"
    )
    latents = len(world.path)
    yield f"path: {in_words(world.path.c2w) or f'{latents} poses, of no keys at the usual speeds'}"
    yield "words, by the number of chunks the world then had:"
    for chunks, words in told_by_chunk(world).items():
        yield f"  {chunks}: {_printable(words)}" if _printable(words) else f"  # {chunks}: none, or not known"


def _made_by(world: World, weights: Path | None, head_dim: int | None) -> str:
    channels, text_dim = world.latent_shape[0], world.text.shape[2]
    sizes = f"{channels} latent channels, prompts of {text_dim} numbers"
    if weights is not None:
        opened = open_dit(weights, allow_base=True, head_dim=head_dim)
        if (opened.config.latent_channels, opened.config.text_dim) != (channels, text_dim):
            return f"model: not {weights}, which is of another size; this world has {sizes}"
        if not world.network:
            return f"model: not known; {weights} is of its size"
        made = same_model(world.network, opened.fingerprint)
        return f"model: {weights}" if made else f"model: not {weights}, but another of its size"
    if not world.network:
        return f"model: not known; {sizes}"
    built_in = builtin.maker(world.network, world.vae, channels)
    if built_in is None:
        return f"model: none of the built-in ones; {sizes}"
    return f"model: {'the built-in world' if built_in is TINY else built_in.name}"


def _vae_of(world: World, file: Path, given: Path | None) -> CausalVAE:
    if given is not None:
        vae = load_vae(given)
        if vae.latent_channels != world.latent_shape[0] or not same_model(world.vae, vae.fingerprint):
            raise InputError(f"{file} was made with another VAE than {given}: give the one it was made with.")
        return vae
    built_in = builtin.maker((), world.vae, world.latent_shape[0])
    if built_in is None:
        raise InputError(f"{file} was not made with a built-in VAE: add --vae with the one it was made with.")
    return builtin.vae(built_in)


def _every(world: World) -> int:
    return -(-world.chunks // MOST_PICTURES)


def _entry(world: World, chunk: int, frames: Tensor) -> Entry:
    told: Mapping[int, str] = told_by_chunk(world)
    since = chunk - _every(world)
    new = [words for chunks, words in told.items() if since < chunks <= chunk]
    seconds = frames_in((chunk + 1) * world.history[0].latents.shape[2]) / FRAMES_PER_SECOND
    news = _printable(new[-1]) if new else ""
    # Pillow's own font has no letters beyond these.
    readable = news.isascii() or news.encode("latin-1", "ignore").decode("latin-1") == news
    picture = small(Image.fromarray(frames[-1].numpy()))
    return Entry(picture, f"chunk {chunk + 1}, {seconds:.1f} s", news if readable else "new words")


def _printable(text: str) -> str:
    """In one line, without the control codes that a file from elsewhere may hold."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _write_picture(picture: Image.Image, name: str, target: Path, *, overwrite: bool) -> None:
    written = write_whole(target, lambda part: picture.save(part, format="PNG"), overwrite=overwrite)
    console.print(f"{name}: {written}", markup=False)
