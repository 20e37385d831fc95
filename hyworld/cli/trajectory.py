"""`hyworld trajectory`: print and draw a path without generating it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import typer

from ..atomic import check_new_file
from ..camera import Trajectory, draw_top_down, label_name
from ..camera.formats import FORMATS, check_new
from ..camera.units import other_pace, read_scale
from ..config import FRAMES_PER_SECOND, WAN_5B, frames_in
from ..errors import InputError
from ..memory import sample_points, select_memory_frames
from ..numbering import numbers
from ..walk import WORLDPLAY, Recipe, Rolling
from ..walk.recipes import DREAMX_5B
from .beginning import speeds_of
from .console import console, note, notes, parse_size, reports_errors, write_whole
from .options import MoveSpeed, TurnSpeed

DEFAULT_PICTURE = Path("trajectory.png")

_RECIPES = {"WorldPlay": WORLDPLAY, "DreamX-World": DREAMX_5B}

SIZE = f"{WAN_5B.size[0]}x{WAN_5B.size[1]}"


@reports_errors
def trajectory(
    path: Annotated[
        str,
        typer.Argument(
            help="Tokens such as 'w-8, right-6', or a file: poses as JSON, nerfstudio's transforms.json, Blender's "
            "camera (.blender.json), .npz, DreamX-World's action words (.json), or a folder of COLMAP (with a slash "
            "at its end)."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Map to draw. Default: trajectory.png, or trajectory-2.png, …"),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the poses as JSON, to edit or to share.")
    ] = None,
    export: Annotated[
        str | None,
        typer.Option(help="Also write the path for another program. The name says which: " + FORMATS + "."),
    ] = None,
    every_frame: Annotated[
        bool,
        typer.Option("--every-frame", help="Export a pose for each frame of the video instead of each latent."),
    ] = False,
    size: Annotated[str, typer.Option(help="Height x width of the video's frames, for the exported lens.")] = SIZE,
    fps: Annotated[
        float | None,
        typer.Option(
            help="Poses per second of a file, made one per latent. Default: the file's own times, else one per latent."
        ),
    ] = None,
    scale: Annotated[
        str, typer.Option(help="Factor on a file's positions; auto: as fast as the model was trained.")
    ] = "1",
    pace: Annotated[
        Literal["WorldPlay", "DreamX-World"],
        typer.Option(help="The model that the path is for: its speeds, and the latents of its chunks."),
    ] = "WorldPlay",
    move_speed: MoveSpeed = None,
    turn_speed: TurnSpeed = None,
    third_person: Annotated[bool, typer.Option("--third-person", help="Label turns as in third-person view.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Print a path's poses and labels, chunk by chunk, and draw it from above.

    Behind the first latent of each chunk stand the past latents that chunk
    looks at. Chunks and latents count from 1.
    """
    recipe = _RECIPES[pace]
    walk = Trajectory.load(
        path,
        speeds=speeds_of(recipe, move_speed, turn_speed),
        third_person=third_person or None,
        fps=fps,
        scale=read_scale(scale),
    )
    frame_size = parse_size(size)
    target, or_next = output or DEFAULT_PICTURE, output is None
    check_new_file(target, ".png", overwrite=overwrite or or_next)
    if json_file is not None:
        check_new_file(json_file, ".json", overwrite=overwrite)
    if export is not None:
        check_new(export, every_frame=every_frame, overwrite=overwrite)
    elif every_frame:
        raise InputError("--every-frame is about the exported path: add --export.")
    notes([*walk.notes, *filter(None, [other_pace(walk.c2w, recipe.speeds)])])

    memory = _memory_by_chunk(walk, recipe)
    for line in _lines(walk, memory):
        console.print(line, markup=False)
    frames = frames_in(walk.chunks * walk.chunk_latents)
    console.print(
        f"{len(walk)} latents: {walk.chunks} chunks, {frames} frames, {frames / FRAMES_PER_SECOND:.1f} s "
        f"at {FRAMES_PER_SECOND} fps; {len(walk) % walk.chunk_latents} left over"
    )
    drawing = draw_top_down(walk, memory=memory)
    target = write_whole(target, lambda part: drawing.save(part, format="PNG"), overwrite=overwrite, or_next=or_next)
    console.print(f"map: {target}", markup=False)
    if json_file is not None:
        text = json.dumps(walk.to_json(), indent=1)
        write_whole(json_file, lambda part: part.write_text(text), overwrite=overwrite)
        console.print(f"poses: {json_file}", markup=False)
    if export is not None:
        files = walk.save(export, size=frame_size, every_frame=every_frame, overwrite=overwrite)
        console.print(f"exported: {', '.join(map(str, files))}", markup=False)
        if len(walk) % walk.chunk_latents:
            whole = walk.chunks * walk.chunk_latents
            note(f"the export has {len(walk)} latents, but a walk has pictures of {whole} of them")


def _memory_by_chunk(walk: Trajectory, recipe: Recipe) -> list[tuple[int, ...]]:
    n, memory = recipe.chunk_latents, recipe.memory
    if isinstance(memory, Rolling):
        return [memory.seen(i * n, n) for i in range(walk.chunks)]
    points, viewmats = sample_points(), torch.tensor(walk.viewmats, dtype=torch.float32)
    return [select_memory_frames(viewmats[: (i + 1) * n], i * n, points, memory) for i in range(walk.chunks)]


def _lines(walk: Trajectory, memory: list[tuple[int, ...]]) -> Iterator[str]:
    yield f"{'chunk':>5} {'latent':>6} {'x':>8} {'y':>8} {'z':>8} {'turn°':>7} {'tilt°':>7} {'label':>5}  action"
    for i, (pose, label) in enumerate(zip(walk.c2w, walk.labels, strict=True)):
        chunk, first = divmod(i, walk.chunk_latents)
        whole = chunk < walk.chunks
        if first == 0 and i:
            yield ""
        forward = pose[:3, 2]
        turn = np.degrees(np.arctan2(forward[0], forward[2]))
        tilt = np.degrees(np.arcsin(np.clip(-forward[1], -1, 1)))
        # + 0.0 turns -0.0 into 0.0.
        turn, tilt = round(turn, 1) + 0.0, round(tilt, 1) + 0.0
        place = " ".join(f"{round(value, 2) + 0.0:8.2f}" for value in pose[:3, 3])
        remembered = f"   remembers {numbers(memory[chunk])}" if first == 0 and whole else ""
        yield (
            f"{chunk + 1 if first == 0 and whole else '':>5} {i + 1:>6} {place} {turn:7.1f} {tilt:7.1f} {label:>5}  "
            f"{label_name(int(label)):<26}{remembered}".rstrip()
        )
