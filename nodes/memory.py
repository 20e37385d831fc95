"""Model and decoder on the GPU for the time of a walk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from ..hyworld.walk import Walker
from ..hyworld.walk import World as WorldValue
from .host.gpus import shared
from .host.run import Together, explains_out_of_memory, memory_for_walk, running
from .host.vae import HostDecoder, HostTinyDecoder, HostVAE


@contextmanager
def in_memory(
    walker: Walker, models: Sequence[Any], vae: HostVAE, decoder: HostDecoder, world: WorldValue
) -> Iterator[Callable[[], None]]:
    """A context in which models and decoder are loaded for a walk in `world`, and too little memory is explained.

    Gives the function that loads them again, if something else has taken their place since.
    """
    if models[0].model.gpus > 1:
        walker.share(models[0].model.gpus)
    needed = memory_for_walk(walker, world, tiny=isinstance(decoder, HostTinyDecoder))
    together = Together([*models, decoder.patcher], memory_required=needed)

    with explains_out_of_memory(_what_would_fit(world, needed, walker.compact_memory)):
        try:
            together.load()
            with ExitStack() as stack:
                stack.enter_context(shared(walker, models, vae, decoder, world, memory=needed))
                for model in models:
                    stack.enter_context(running(model))
                yield together.load
        finally:
            walker.decoding.caches.park()


def _what_would_fit(world: WorldValue, needed: int, compact: bool) -> str:
    """The error text for too little GPU memory; `needed` is in bytes."""
    height, width = world.size
    smaller = next(((w, h) for w, h in ((832, 480), (640, 352), (448, 256)) if w * h < width * height), None)
    example = f" such as {smaller[0]}x{smaller[1]}" if smaller else ""
    memory = "" if compact else "kv_memory compact, "
    return (
        f"There is not enough GPU memory for a walk at {width}x{height} (about {needed / 1e9:.0f} GB beside the "
        f"weights): choose a smaller size{example}, {memory}weight_dtype fp8_e4m3fn, or the tiny decoder."
    )
