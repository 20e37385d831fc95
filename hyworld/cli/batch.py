"""`hyworld batch`: a file of walks, a line each → a folder of videos."""

from __future__ import annotations

import contextvars
import inspect
import queue
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from .. import pipeline
from ..apart import apart
from ..batch import comfy, lines, results, workers
from ..batch.estimate import Estimate
from ..batch.lines import BadLine, Line
from ..errors import InputError
from ..pipeline import Pipeline
from ..walk import Progress as WalkProgress
from .console import EXIT_OTHER, console, note, reports_errors
from .generate import Around, around, generate

LEFT_OUT = frozenset({"output", "overwrite", "gpus", "resume", "autosave", "save_world"})
"""Options of `hyworld generate` that are the batch's affair."""

OTHER_NAMES = {"picture": "image", "path": "pose"}

EXAMPLE = '{"prompt": "a quiet street", "path": "w-15", "seed": 1}'


@reports_errors
def batch(
    context: typer.Context,
    walks: Annotated[
        Path, typer.Argument(help=f"File with a walk in each line, such as {EXAMPLE}.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for videos and records; made if it is not there.")],
    worker_count: Annotated[
        int | None, typer.Option("--workers", min=1, help="How many; default: one for each GPU, without GPUs one.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Of a Ray cluster whose machines see the same folders, such as ray://host:10001."),
    ] = None,
    comfyui: Annotated[
        list[str] | None,
        typer.Option(help="Address of a ComfyUI server that makes the walks instead; again for several servers."),
    ] = None,
    workflow: Annotated[
        Path | None, typer.Option(help="API workflow that --comfyui is sent, with the walk's options put into it.")
    ] = None,
) -> None:
    """Make many walks. Options of hyworld generate that follow are for all lines; a line may say otherwise.

    A line is a JSON object: any options of hyworld generate (path is pose, picture is image), name for its files,
    save_world: true for its world. Started again, only what is missing is made.
    """
    for_all = _options_of(context.args)
    if (workflow is None) != (not comfyui):
        raise InputError("--comfyui needs --workflow, an API workflow, and the other way round: give both or none.")
    check = cache_free_check(walks.resolve().parent)
    estimate, began = Estimate(lines.count(walks)), time.monotonic()
    bad: list[str] = []
    with results.Results(out) as kept, _bar() as bar:

        def fails(number: int, problem: str) -> None:
            bad.append(f"line {number}: {problem}")
            estimate.ends(number, made=False)
            note(bad[-1])

        def missing() -> Iterator[Line]:
            for line in lines.read(walks, check, for_all):
                if isinstance(line, BadLine):
                    fails(line.number, line.problem)
                    continue
                try:
                    there = kept.has(line)
                except InputError as error:
                    fails(line.number, str(error))
                    continue
                if there:
                    estimate.there += 1
                else:
                    yield line

        with _makers(comfyui, workflow, address, worker_count, walks) as makers:
            for line, what in makers.make(missing(), kept.folder):
                if what is None:
                    estimate.dropped(line.number)
                elif isinstance(what, workers.Progress):
                    estimate.works(line.number, *what)
                elif isinstance(what, workers.Failed):
                    fails(line.number, what.problem)
                else:
                    estimate.ends(line.number, made=True)
                _show(bar, estimate, time.monotonic() - began)
    seconds = time.monotonic() - began
    console.print(f"{out}: {estimate}, in {seconds:.1f} s", markup=False)
    if bad:
        raise typer.Exit(EXIT_OTHER)


def _makers(
    servers: list[str] | None, workflow: Path | None, address: str | None, count: int | None, walks: Path
) -> workers.Pool | comfy.Servers:
    if servers and workflow is not None:
        return comfy.Servers(servers, workflow)
    folder = walks.resolve().parent
    return workers.Pool(_Prepared(folder), address=address, workers=count)


class _Prepared:
    """Makes a worker's function of walks; travels to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self) -> workers.Walk:
        loaded = _Loaded()

        def walk(line: Line, out: Path) -> Iterator[workers.Progress | workers.Made | workers.Failed]:
            return workers.paced(_walked(line, out, checked(line.options, self._folder), loaded))

        return walk


class _Loaded:
    """`pipeline.load`, but for what was loaded last."""

    def __init__(self) -> None:
        self._key: str | None = None
        self._pipeline: Pipeline | None = None

    def __call__(self, *given: Any, **options: Any) -> Pipeline:
        key = repr((given, sorted(options.items())))
        if self._pipeline is None or key != self._key:
            self._pipeline = None  # freed before its successor is loaded
            self._pipeline, self._key = pipeline.load(*given, **options), key
        return self._pipeline


def _walked(
    line: Line, out: Path, options: Mapping[str, Any], loaded: Callable[..., Pipeline]
) -> Iterator[workers.Progress | workers.Made | workers.Failed]:
    """The walk of `line` as `hyworld generate` makes it, on a thread of its own."""
    news: queue.Queue[workers.Progress | None] = queue.Queue()

    def watch(progress: WalkProgress, steps: int, chunks: int) -> None:
        news.put(workers.Progress(progress.chunk + progress.step / steps, chunks))

    def make(target: Path) -> None:
        try:
            around.set(Around(loaded, watch))
            given = {name: value for name, value in options.items() if name != "save_world"}
            world = target.with_suffix(".world") if options.get("save_world") else None
            inspect.unwrap(generate)(**given, output=target, autosave=0, save_world=world)
        finally:
            news.put(None)

    with results.work_folder(out) as work:
        began = time.monotonic()
        making: Future[None] = apart(contextvars.Context().run, make, work / "walk.mp4")
        while (progress := news.get()) is not None:
            yield progress
        try:
            making.result()
        except InputError as error:
            yield workers.Failed(str(error))
            return
        files = {file.suffix[1:]: file for file in work.iterdir()}
        made = {"seconds": round(time.monotonic() - began, 2)}
        yield workers.Made(results.finish(out, line, files, made))


@cache
def _known() -> dict[str, Any]:
    """Options of a walk, and their types."""
    hints = get_type_hints(inspect.unwrap(generate))
    known = {name: hint for name, hint in hints.items() if name not in LEFT_OUT and name != "return"}
    return {**known, "save_world": bool}


def cache_free_check(folder: Path) -> lines.Check:
    """`checked` for files beside those in `folder`."""
    return lambda options: checked(options, folder)


def checked(options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Options of a line as `generate` takes them, files beside `folder`; raises `InputError` for others."""
    known, given = _known(), {}
    for written, value in options.items():
        name = OTHER_NAMES.get(written, written).replace("-", "_")
        if name not in known:
            raise InputError(f"there is no option {written!r}: see hyworld generate --help.")
        if name in given:
            raise InputError(f"the option {written!r} is given twice.")
        if value is not None:
            given[name] = _as(known[name], name, written, value, folder)
    return given


def _as(hint: Any, name: str, written: str, value: Any, folder: Path) -> Any:
    kinds = [kind for kind in (get_args(hint) if get_origin(hint) is not Literal else (hint,)) or (hint,)]
    if name == "prompt":
        if isinstance(value, dict):
            return [f"{chunks}: {words}" for chunks, words in value.items()]
        value = [value] if isinstance(value, str) else value
        if isinstance(value, list) and all(isinstance(words, str) for words in value):
            return value
    elif Path in kinds and isinstance(value, str):
        return folder / value
    elif (bool in kinds and isinstance(value, bool)) or (
        int in kinds and isinstance(value, int) and not isinstance(value, bool)
    ):
        return value
    elif float in kinds and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif str in kinds and isinstance(value, str):
        return value
    for kind in kinds:
        if get_origin(kind) is Literal and value in get_args(kind):
            return value
    raise InputError(f"the option {written!r} cannot be {value!r}: see hyworld generate --help.")
