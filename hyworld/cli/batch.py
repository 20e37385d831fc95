"""`hyworld batch`: a file of walks, a line each → a folder of videos."""

from __future__ import annotations

import contextvars
import inspect
import queue
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from .. import pipeline
from ..apart import apart
from ..batch import comfy, lines, results, workers
from ..batch.estimate import Estimate
from ..batch.lines import BadLine, Line
from ..errors import InputError
from ..pipeline import Pipeline
from ..walk import Progress as WalkProgress
from .console import EXIT_OTHER, console, note, reports_errors, stderr
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
    makers: workers.Pool | comfy.Servers
    if comfyui and workflow is not None:
        makers = comfy.Servers(comfyui, workflow)
        check = makers.check
    else:
        workers.ray()  # is it there? before anything is made
        makers = workers.Pool(_Prepared(walks.resolve().parent), address=address, workers=worker_count)
        check = partial(checked, folder=walks.resolve().parent)
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

        with makers:
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


def _options_of(words: list[str]) -> dict[str, Any]:
    """Options after the command's own: --name value, --name=value, and --name alone for what is on or off."""
    options: dict[str, Any] = {}
    known = _known()
    rest = list(words)
    while rest:
        written, equals, value = rest.pop(0).partition("=")
        name = written.removeprefix("--").replace("-", "_")
        if not written.startswith("--") or name not in known:
            raise InputError(f"There is no option {written}: see hyworld batch --help and hyworld generate --help.")
        hint = known[name]
        if hint is bool:
            options[name] = True
            continue
        if not equals:
            if not rest:
                raise InputError(f"The option {written} needs a value.")
            value = rest.pop(0)
        options[name] = _number(value) if {int, float} & {hint, *get_args(hint)} else value
    return options


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _bar() -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=stderr, transient=True)


def _show(bar: Progress, estimate: Estimate, passed: float) -> None:
    if not bar.tasks:
        bar.add_task("walks", total=estimate.total)
    left = estimate.seconds_left(passed)
    soon = "" if left is None else f", done in {timedelta(seconds=round(left))}"
    bar.update(bar.tasks[0].id, completed=estimate.done, description=f"{estimate}{soon}")


@cache
def _known() -> dict[str, Any]:
    """Options of a walk, and their types."""
    hints = get_type_hints(inspect.unwrap(generate))
    known = {name: hint for name, hint in hints.items() if name not in LEFT_OUT and name != "return"}
    return {**known, "save_world": bool}


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
    kinds = {hint} if get_origin(hint) is Literal else {hint, *get_args(hint)}
    if name == "prompt":
        if isinstance(value, dict):
            return [f"{chunks}: {words}" for chunks, words in value.items()]
        value = [value] if isinstance(value, str) else value
        if isinstance(value, list) and all(isinstance(words, str) for words in value):
            return value
    elif Path in kinds and isinstance(value, str):
        return folder / value
    elif name == "pose" and isinstance(value, str):
        return str(folder / value) if (folder / value).is_file() else value
    elif float in kinds and type(value) in (int, float):
        return float(value)
    elif type(value) in kinds:
        return value
    for kind in kinds:
        if get_origin(kind) is Literal and value in get_args(kind):
            return value
    raise InputError(f"the option {written!r} cannot be {value!r}: see hyworld generate --help.")
