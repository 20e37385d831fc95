"""Constant bytes that processes hold together, each its part of every piece, and how one gets the others' parts.

A piece is fetched on a stream of its own, at addresses that never change, so that CUDA graphs record it with the rest.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import InputError
from .peers import FOREVER

Arrived = Callable[[], None]
"""Lets what follows wait until a piece is there."""

UNREADABLE = (
    "The GPUs cannot read each other's memory, so their weights cannot be split by reading: give --split-weights send, "
    "or leave it out."
)

Spots = Sequence[Tensor | None]
"""Where each process's part of a piece is to lie, as bytes; None if it lies there."""


class Parts(Protocol):
    """Of several pieces. All processes fetch the same ones in the same order.

    own: this process's, bytes `[pieces, bytes]`, to be filled once before anything is fetched.
    """

    own: Tensor

    def filled(self) -> None:
        """Wait until every process has filled its own."""

    def fetch(self, piece: int, spots: Spots) -> Arrived:
        """Begin to write all parts of that piece into `spots`, after what was asked of the device before."""


class UnreadableError(InputError):
    """A process cannot read the others' memory."""


class Read:
    """The others' parts are read from their memory over NVLink or PCIe, by copy engines: nobody need wait for anybody.

    Raises `UnreadableError`, in every process alike.
    """

    def __init__(self, pieces: int, size: int, device: torch.device) -> None:
        self._rank, ranks = dist.get_rank(), dist.get_world_size()
        if not _in_all(_reaches(_from_all(device.index), device)):
            raise UnreadableError(UNREADABLE)
        failed: Exception | None = None
        try:
            from torch.distributed import _symmetric_memory as symmetric

            before = torch.cuda.memory_allocated(device)
            self.own = symmetric.empty((pieces, size), dtype=torch.uint8, device=device)
            # Where it is taken from the driver, torch does not count it.
            self.uncounted = pieces * size - (torch.cuda.memory_allocated(device) - before)
            handle: Any = symmetric.rendezvous(self.own, dist.distributed_c10d._get_default_group())
            # Each begins with the one after it, so that not all read from one.
            others = [(self._rank + step) % ranks for step in range(1, ranks)]
            self._others = [(rank, handle.get_buffer(rank, (pieces, size), torch.uint8)) for rank in others]
            self._handle = handle  # which keeps the others' memory within reach
        except (ImportError, AttributeError, RuntimeError) as error:  # old torch, or a container that forbids it
            failed = error
        if not _in_all(failed is None):
            raise UnreadableError(UNREADABLE) from failed
        self._stream = torch.cuda.Stream(device)
        _reads.add(self)

    def filled(self) -> None:
        torch.cuda.synchronize(self.own.device)
        dist.all_reduce(torch.zeros(1))

    def fetch(self, piece: int, spots: Spots) -> Arrived:
        def copied() -> None:
            for rank, theirs in self._others:
                if (spot := spots[rank]) is not None:
                    spot.copy_(theirs[piece])
            if (spot := spots[self._rank]) is not None:
                spot.copy_(self.own[piece])

        return _beside(self._stream, copied)


class Sent:
    """Each process sends its part to the others: also between machines, and on a CPU."""

    def __init__(self, pieces: int, size: int, device: torch.device) -> None:
        self.own = torch.empty(pieces, size, dtype=torch.uint8, device=device)
        self._rank, self._ranks = dist.get_rank(), dist.get_world_size()
        # Of its own: the default group's messages travel at the same time.
        self._group = dist.new_group(timeout=FOREVER)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def filled(self) -> None:
        pass

    def fetch(self, piece: int, spots: Spots) -> Arrived:
        if self._stream is None:
            return self._begun(piece, spots)
        return _beside(self._stream, lambda: self._begun(piece, spots)())

    def _begun(self, piece: int, spots: Spots) -> Arrived:
        messages = []
        for rank in range(self._ranks):
            if rank == self._rank:
                continue
            spot = spots[rank]
            assert spot is not None, "only one's own part can lie here"
            messages.append(dist.P2POp(dist.isend, self.own[piece], rank, self._group))
            messages.append(dist.P2POp(dist.irecv, spot, rank, self._group))
        works = dist.batch_isend_irecv(messages)
        if (spot := spots[self._rank]) is not None:
            spot.copy_(self.own[piece])

        def arrived() -> None:
            for work in works:
                work.wait()

        return arrived


def _beside(stream: torch.cuda.Stream, move: Callable[[], None]) -> Arrived:
    stream.wait_stream(torch.cuda.current_stream(stream.device))
    with torch.cuda.stream(stream):
        move()
        done = stream.record_event()
    return lambda: torch.cuda.current_stream(stream.device).wait_event(done)


def _reaches(others: list[int | None], device: torch.device) -> bool:
    """Whether this process's GPU can read those of these numbers, all of this machine."""
    if device.type != "cuda" or torch.version.hip is not None or device.index is None:
        return False
    if os.environ.get("LOCAL_WORLD_SIZE") != str(len(others)):
        return False
    return all(other is not None and _peers(device.index, other) for other in others)


def _peers(one: int, other: int) -> bool:
    return one == other or torch.cuda.can_device_access_peer(one, other)


def _from_all(value: Any) -> list[Any]:
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def _in_all(value: bool) -> bool:
    return all(_from_all(value))


_reads: weakref.WeakSet[Read] = weakref.WeakSet()


def uncounted_bytes() -> int:
    """Bytes on this process's GPU that torch's statistics do not have."""
    return sum(read.uncounted for read in _reads)
