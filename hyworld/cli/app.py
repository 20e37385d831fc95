"""The `hyworld` command; each subcommand has its own module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from .. import __version__
from .batch import batch
from .bench import bench
from .console import EXIT_INPUT, EXIT_OTHER, fail
from .convert import convert
from .generate import generate
from .launch import arguments as asked
from .play import play
from .recipes import recipes
from .trajectory import trajectory
from .verify import verify
from .world import world

app = typer.Typer(
    name="hyworld",
    help="Walk through generated worlds: HY-World 1.5 (WorldPlay WAN-5B), DreamX-World and other Wan models.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(generate)
app.command()(play)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(batch)
app.command()(recipes)
app.command()(convert)
app.command()(world)
app.command()(trajectory)
app.command()(verify)
app.command()(bench)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hyworld {__version__}")
        raise typer.Exit


@app.callback(epilog="Start with: hyworld generate")
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


_UsageError: Any = typer.BadParameter.__bases__[0]
"""What a wrong option raises: click's class, or that of newer typers' own copy of click."""

_INTERRUPTED = 130
"""Typer's exit code for Ctrl-C outside a command's own code; older ones raise `Abort`."""


def run(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code."""
    asked.set(arguments)
    try:
        code: int = app(list(arguments) or ["--help"], prog_name="hyworld", standalone_mode=False) or 0
    except _UsageError as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "hyworld"
        return fail(f"{error.format_message().rstrip('.')}: see {command} --help", EXIT_INPUT)
    except typer.Abort:
        code = _INTERRUPTED
    return fail("interrupted", EXIT_OTHER) if code == _INTERRUPTED else code
