"""The world each sampler walked last, so that a path that grew is not walked again from its start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary, ref

from ..hyworld.camera import Trajectory
from ..hyworld.walk import Words, World

_worlds: WeakKeyDictionary[Any, dict[tuple[str | None, bool], tuple[ref[Any] | None, World]]] = WeakKeyDictionary()


class LastWalk:
    """What one sampler node walked last with a MODEL, or two; forgotten with the first.

    A loader or LoRA node that runs again makes another MODEL, so other weights never meet an old world. `compact` is
    part of the key, because keys and values in another form round otherwise.
    """

    def __init__(self, model: Any, node_id: str | None, *, compact: bool, second: Any = None) -> None:
        self._of_model = _worlds.setdefault(model, {})
        self._key = (node_id, compact)
        self._second = second

    def shared_with(self, start: World, parts: Sequence[Trajectory], words: Mapping[int, Words]) -> World:
        """What it has in common with a walk from `start`; `start` if nothing. See `World.shared_with`."""
        second, last = self._of_model.get(self._key, (None, start))
        if (None if second is None else second()) is not self._second:
            return start
        return last.shared_with(start, parts, words)

    def keep(self, world: World) -> None:
        """`world` is the last now, finished or not."""
        self._of_model[self._key] = (None if self._second is None else ref(self._second), world)
