"""Where a walk begins: in a new world, in a saved one, or where the same walk was cut off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from .. import builtin
from ..camera import Speeds, Trajectory
from ..config import TINY
from ..errors import InputError
from ..pipeline import Pipeline
from ..walk import Recipe, Words, World


def speeds_of(recipe: Recipe, move: float | None, turn_deg: float | None) -> Speeds:
    """What a key moves: as asked, else as the model was trained."""
    own = recipe.speeds
    return replace(
        own, move=own.move if move is None else move, turn_deg=own.turn_deg if turn_deg is None else turn_deg
    )


def saved_world(
    file: Path | None,
    *,
    from_chunk: int | None,
    seed: int | None,
    any_model: bool,
    of_new_worlds: Mapping[str, object],
) -> World | None:
    """The world of `--world` as the other options have it, None without the option.

    of_new_worlds: options that only a new world has, and their values.

    Raises `InputError` for options that do not go together, and as `World.load` and `World.at_chunk`.
    """
    if file is None:
        for option, given in (("--from-chunk", from_chunk is not None), ("--any-model", any_model)):
            if given:
                raise InputError(f"{option} is for a saved world: give it with --world, or leave it out.")
        return None
    for option, value in of_new_worlds.items():
        if value is not None:
            raise InputError(f"{option} does not go with --world, which has its own picture and size: leave it out.")
    world = World.load(file)
    if from_chunk is not None:
        world = world.at_chunk(from_chunk)
    if seed is not None:
        world = replace(world, seed=seed)
    return replace(world, network=(), vae=()) if any_model else world


def preset_for(world: World | None, name: str) -> str:
    """The built-in model to take without `--weights` and `--preset`: the one that made `world`.

    Raises `InputError` if it was none of them; name: of the world's file.
    """
    if world is None:
        return TINY.name
    made_by = builtin.maker(world.network, world.vae, world.latent_shape[0])
    if made_by is None:
        raise InputError(f"{name} was not made by a built-in model: add --weights and --vae of the one that made it.")
    return made_by.name


def cut_off(
    kept: World, name: str, start: World, parts: list[Trajectory], words: Mapping[int, Words]
) -> tuple[World, list[Trajectory]]:
    """What the world of `--resume` has of the walk from `start` along `parts`, and the parts that are left.

    Raises `InputError` if it has nothing of it, or all.
    """
    known = kept.shared_with(start, parts, words)
    done = known.chunks - start.chunks
    if not done:
        raise InputError(
            f"{name} holds no beginning of this walk: repeat picture, prompts, path and seed of the walk that was cut "
            "off, or go on anywhere with --world."
        )
    if done == len(parts):
        raise InputError(f"{name} holds the whole walk already: go on from its end with --world.")
    return known, parts[done:]


def encoded(pipeline: Pipeline, prompts: Mapping[int, str], world: World) -> dict[int, Words]:
    """The words of each prompt; those that `world` was told already are its own."""
    return {
        chunks: Words(world.text, world.prompt)
        if chunks <= world.chunks and words == world.prompt
        else pipeline.words(words)
        for chunks, words in prompts.items()
    }
