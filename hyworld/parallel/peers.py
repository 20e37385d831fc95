"""Whether the processes that share a walk are all there, and in step."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist

GRACE = 4.0
"""Seconds in which the walk may end by itself after a process was lost; it cannot if it waits for its GPU."""

FOREVER = timedelta(days=30)
"""For who waits for the next order; a process that ends is noticed in other ways."""


class RankLostError(RuntimeError):
    """A process of this walk has ended: it cannot go on."""


class Peers:
    """The processes of one job, as one of them sees them; `number` is its own, 0 leads."""

    def __init__(self, store: dist.Store, number: int) -> None:
        self.lost: str | None = None
        """What a user is told when a process has ended."""
        self.noticed = False
        """Whether the walk is ending because of that."""
        self._out_of_step = False
        self._store = store
        self._number = number

    @property
    def together(self) -> bool:
        """Whether work can still be shared."""
        return self.lost is None and not self._out_of_step

    def has_arrived(self, number: int) -> bool:
        return self._store.check([f"here/{number}"])

    def lose(self, number: int, of: int) -> None:
        """Process `number` of so many has ended."""
        why = ""
        with suppress(Exception):  # the store ends with its process
            if self._store.check([f"why/{number}"]):
                why = f" ({self._store.get(f'why/{number}').decode()})"
        self.lost = f"Process {number + 1} of the {of} that share this walk{why} has ended, so the walk ends here."

    def arrive(self) -> None:
        """In a process that does not lead: say that it is there."""
        self._store.set(f"here/{self._number}", "")

    def give_up(self, why: str) -> NoReturn:
        """In a process that does not lead: tell the leader why, who ends it."""
        with suppress(Exception):
            self._store.set(f"why/{self._number}", why)
        time.sleep(GRACE / 2)  # the leader may have met the same, and says it better
        os._exit(1)

    def verify(self) -> None:
        """Raise `RankLostError` if a process has ended: what was made since is not to be trusted."""
        if self.lost is not None:
            self.noticed = True
            raise RankLostError(self.lost)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raises `RankLostError` for what a collective raises when another process has ended.

        What else is raised in the middle of shared work leaves the processes out of step: nothing is shared after it.
        """
        self.verify()
        if self._out_of_step:
            raise RankLostError("The processes that share this walk are out of step after an error: start it again.")
        try:
            yield
        except BaseException as error:
            collective = isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError)
            said = self.wait_for_loss() if collective else None
            if said is not None:
                raise RankLostError(said) from error
            self._out_of_step = True
            raise

    def wait_for_loss(self, seconds: float = 1.0) -> str | None:
        """`lost`, which may take a moment to be known."""
        until = time.monotonic() + seconds
        while self.lost is None and time.monotonic() < until:
            time.sleep(0.02)
        self.noticed = self.noticed or self.lost is not None
        return self.lost
