"""`hyworld batch`: a file of walks, a line each → a folder of videos."""

from __future__ import annotations

import contextvars
import inspect
import os
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
from ..batch import comfy, lines, news, results, workers, workflow
from ..batch.estimate import Estimate
from ..batch.lines import BadLine, Line
from ..errors import InputError
from ..pipeline import Pipeline
from ..walk import Progress as WalkProgress
from .console import EXIT_OTHER, console, note, reports_errors, stderr
from .generate import Around, around, generate

LEFT_OUT = frozenset({"output", "overwrite", "gpus", "split_weights", "resume", "autosave", "save_world"})
"""Options of `hyworld generate` that are the batch's affair."""

EXAMPLE = '{"prompt": "a quiet street", "path": "w-15", "seed": 1}'


@reports_errors
def batch(
    context: typer.Context,
    walks: Annotated[
        Path, typer.Argument(help=f"File with a walk in each line, such as {EXAMPLE}.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for videos and records; made if it is not there.")],
    worker_count: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Processes that walk. Default: one for each GPU; without GPUs one."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster whose machines see the same folders: head:6379, or auto on one of them."),
    ] = None,
    comfyui: Annotated[
        list[str] | None,
        typer.Option(help="Address of a ComfyUI server that makes the walks instead; again for several servers."),
    ] = None,
    api_workflow: Annotated[
        Path | None,
        typer.Option(
            "--workflow", help="API workflow that these servers are sent, with the walk's options put into it."
        ),
    ] = None,
) -> None:
    """Make many walks: a file with a walk in each line in, a folder of videos out.

    A line is a JSON object of options of hyworld generate, such as pose (or path)
    and image (or picture); with name, what its files are called, and save_world:
    true, its world is kept. Options of hyworld generate after the command's own
    are for all lines; a line may say otherwise.

    Ray's workers (pip install ray) make the walks, or ComfyUI servers. Started
    again, only what is missing is made.
    """
    folder = walks.resolve().parent
    for_all = _options_of(context.args, folder)
    if (api_workflow is None) != (not comfyui):
        raise InputError("--comfyui needs --workflow, an API workflow, and the other way round: give both or none.")
    makers: workers.Pool | comfy.Servers
    check: lines.Check
    made_by = ""
    if api_workflow is None:
        makers = workers.Pool(_Prepared(folder), address=address, workers=worker_count)
        check = partial(checked, folder=folder)
    else:
        sent = workflow.Workflow(api_workflow, folder)
        makers, check, made_by = comfy.Servers(comfyui or [], sent), sent.filled, sent.text
    estimate, began = Estimate(lines.count(walks), counts_chunks=not comfyui), time.monotonic()
    in_work: dict[str, int] = {}  # names, and the numbers of their lines
    with results.Results(out) as kept, _bar() as bar:

        def fails(number: int, problem: str) -> None:
            estimate.ends(number, made=False)
            note(f"line {number}: {problem}")

        def missing() -> Iterator[Line]:
            for line in lines.read(walks, check, for_all, plain, made_by):
                try:
                    if isinstance(line, BadLine):
                        raise InputError(line.problem)
                    if line.name in in_work:
                        raise InputError(f"the name {line.name} is that of line {in_work[line.name]}: choose another.")
                    if not kept.has(line):
                        in_work[line.name] = line.number
                        yield line
                        continue
                except InputError as error:
                    fails(line.number, str(error))
                    continue
                estimate.there += 1

        with makers:
            for line, what in makers.make(missing(), kept):
                if isinstance(what, news.Progress):
                    estimate.works(line.number, *what)
                elif isinstance(what, news.Again):
                    estimate.dropped(line.number)
                    note(f"line {line.number} is begun anew: {what.reason}")
                elif isinstance(what, news.Failed):
                    del in_work[line.name]
                    fails(line.number, what.problem)
                else:
                    del in_work[line.name]
                    estimate.ends(line.number, made=True)
                _show(bar, estimate, time.monotonic() - began)
    seconds = time.monotonic() - began
    console.print(f"{out}: {estimate}, in {seconds:.1f} s", markup=False)
    if estimate.failed:
        raise typer.Exit(EXIT_OTHER)


class _Prepared:
    """Makes a worker's function of walks; travels to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self) -> workers.Walk:
        loaded = _Loaded()

        def walk(line: Line, out: Path) -> Iterator[news.Progress | news.Made | news.Failed]:
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
) -> Iterator[news.Progress | news.Made | news.Failed]:
    """The walk of `line` as `hyworld generate` makes it, on a thread of its own."""
    heard: queue.Queue[news.Progress | None] = queue.Queue()

    def watch(progress: WalkProgress, steps: int, chunks: int) -> None:
        heard.put(news.Progress(progress.chunk + progress.step / steps, chunks))

    def make(target: Path) -> None:
        try:
            around.set(Around(loaded, watch))
            given = {name: value for name, value in options.items() if name != "save_world"}
            world = target.with_suffix(".world") if options.get("save_world") else None
            inspect.unwrap(generate)(**given, output=target, autosave=0, save_world=world)
        finally:
            heard.put(None)

    with results.work_folder(out) as work:
        began = time.monotonic()
        making: Future[None] = apart(contextvars.Context().run, make, work / "walk.mp4")
        while (progress := heard.get()) is not None:
            yield progress
        try:
            making.result()
        except InputError as error:
            yield news.Failed(str(error))
            return
        files = {file.suffix: file for file in work.iterdir()}
        made = {"seconds": round(time.monotonic() - began, 2)}
        yield news.Made(results.finish(out, line, files, made))


def _options_of(words: list[str], folder: Path) -> dict[str, Any]:
    """Options after the command's own: --name value, --name=value, and --name alone for what is on or off.

    Files are looked for here, and told as seen from `folder`, as those of the lines are.
    """
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
        kinds = {hint, *get_args(hint)}
        if {int, float} & kinds:
            options[name] = _number(value)
        elif (Path in kinds and Path(value).exists()) or (name == "pose" and Path(value).is_file()):
            options[name] = value if Path(value).is_absolute() else os.path.relpath(value, folder)
        else:
            options[name] = value
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


def plain(written: str) -> str:
    """The name of an option of `hyworld generate`."""
    return workflow.OTHER_NAMES.get(written, written).replace("-", "_")


def checked(options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Options of a line as `generate` takes them, files beside `folder`; raises `InputError` for others."""
    known, given = _known(), {}
    for written, value in options.items():
        name = plain(written)
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
