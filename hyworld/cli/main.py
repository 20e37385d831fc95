"""The `hyworld` command: one module per subcommand, put together here.

Exit codes: 0 done, 2 the user's input, 1 anything else.
"""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from .convert import convert
from .generate import generate
from .trajectory import trajectory
from .verify import verify

app = typer.Typer(
    name="hyworld",
    help="Walk through a generated world: HY-World 1.5 (WorldPlay WAN-5B) from the command line.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(generate)
app.command()(convert)
app.command()(trajectory)
app.command()(verify)


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


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
