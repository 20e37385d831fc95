"""`hyworld trajectory`: print and draw a path without generating it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from ..atomic import check_new_file
from ..camera import Speeds, Trajectory, draw_top_down, label_name
from ..config import CHUNK_LATENTS, FRAMES_PER_SECOND, MemoryConfig, frames_in
from ..memory import sample_points, select_memory_frames
from ..numbering import numbers
from .console import console, notes, reports_errors, write_whole

DEFAULT_PICTURE = Path("trajectory.png")


@reports_errors
def trajectory(
    path: Annotated[str, typer.Argument(help="Tokens such as 'w-8, right-6', or a JSON file of poses.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Map to draw. Default: trajectory.png, or trajectory-2.png, …"),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the poses as JSON, to edit or to share.")
    ] = None,
    move_speed: Annotated[float, typer.Option(help="Distance a move token covers per latent.")] = Speeds().move,
    turn_speed: Annotated[float, typer.Option(help="Degrees a turn token covers per latent.")] = Speeds().turn_deg,
    third_person: Annotated[bool, typer.Option("--third-person", help="Label turns as in third-person view.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Print a path's poses and labels, chunk by chunk, and draw it from above.

    Behind the first latent of each chunk stands what the memory will choose:
    the past latents that chunk looks at. Chunks and latents count from 1.
    """
    walk = Trajectory.load(path, speeds=Speeds(move=move_speed, turn_deg=turn_speed), third_person=third_person or None)
    target, or_next = output or DEFAULT_PICTURE, output is None
    check_new_file(target, ".png", overwrite=overwrite or or_next)
    if json_file is not None:
        check_new_file(json_file, ".json", overwrite=overwrite)
    notes(walk.notes)

    memory = _memory_by_chunk(walk)
    for line in _lines(walk, memory):
        console.print(line, markup=False)
    frames = frames_in(walk.chunks * CHUNK_LATENTS)
    console.print(
        f"{len(walk)} latents: {walk.chunks} chunks, {frames} frames, {frames / FRAMES_PER_SECOND:.1f} s "
        f"at {FRAMES_PER_SECOND} fps; {len(walk) % CHUNK_LATENTS} left over"
    )
    drawing = draw_top_down(walk, memory=memory)
    target = write_whole(target, lambda part: drawing.save(part, format="PNG"), overwrite=overwrite, or_next=or_next)
    console.print(f"map: {target}", markup=False)
    if json_file is not None:
        text = json.dumps(walk.to_json(), indent=1)
        write_whole(json_file, lambda part: part.write_text(text), overwrite=overwrite)
        console.print(f"poses: {json_file}", markup=False)


def _memory_by_chunk(walk: Trajectory) -> list[tuple[int, ...]]:
    points, config = sample_points(), MemoryConfig()
    viewmats = torch.tensor(walk.viewmats, dtype=torch.float32)
    return [
        select_memory_frames(viewmats[: (i + 1) * CHUNK_LATENTS], i * CHUNK_LATENTS, points, config)
        for i in range(walk.chunks)
    ]


def _lines(walk: Trajectory, memory: list[tuple[int, ...]]) -> Iterator[str]:
    yield f"{'chunk':>5} {'latent':>6} {'x':>8} {'y':>8} {'z':>8} {'turn°':>7} {'tilt°':>7} {'label':>5}  action"
    for i, (pose, label) in enumerate(zip(walk.c2w, walk.labels, strict=True)):
        chunk, first = divmod(i, CHUNK_LATENTS)
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
