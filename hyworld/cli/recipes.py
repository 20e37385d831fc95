"""`hyworld recipes`: the checkpoints that can be walked, and how."""

from __future__ import annotations

from rich.table import Table

from ..walk.recipe import Recipe, Rolling
from ..walk.recipes import RECIPES
from .console import console, reports_errors


@reports_errors
def recipes() -> None:
    """List the models that can be walked, each with its recipe: how it is walked.

    A file's shapes say which are possible, and its name mostly which it is; else say it with --recipe. docs/recipes.md
    has the models' links, licences, memory and speed.
    """
    table = Table(box=None, pad_edge=False)
    for head in ("recipe", "size", "chunk", "steps", "guidance", "remembers", "from"):
        table.add_column(head, no_wrap=head in ("recipe", "chunk"))
    for recipe in RECIPES.values():
        table.add_row(*_row(recipe))
    console.print(table)


def _row(recipe: Recipe) -> tuple[str, ...]:
    height, width = recipe.size
    scales = {recipe.guidance, recipe.guidance if recipe.low_guidance is None else recipe.low_guidance}
    return (
        recipe.name,
        f"{height}x{width}, {recipe.frames_per_second} fps",
        f"{recipe.chunk_latents} latents",
        f"{recipe.steps}, {recipe.advance}",
        "none" if scales == {1.0} else " / ".join(f"{scale:g}" for scale in sorted(scales, reverse=True)),
        _remembers(recipe),
        _from(recipe),
    )


def _remembers(recipe: Recipe) -> str:
    memory = recipe.memory
    if not isinstance(memory, Rolling):
        return f"{memory.frames} latents, by view"
    if memory.window + memory.sink == recipe.chunk_latents:
        return "nothing: one chunk"
    sink = f" and the first {memory.sink}" if memory.sink else ""
    return f"{memory.window} latents{sink}" + (", some by view" if memory.recall is not None else "")


def _from(recipe: Recipe) -> str:
    kind = {None: "words", "stamp": "words, picture", "channels": "picture"}[recipe.picture]
    if recipe.follows_camera:
        kind += ", camera path"
    return kind + (", two networks" if recipe.boundary is not None else "")
