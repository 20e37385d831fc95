"""What the leader tells the other processes, each with the tensors that it sends after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from ..dit import KVMemory, RollingMemory
from .split import SplitChoice

CPU = torch.device("cpu")


class Build(NamedTuple):
    """Make the pipeline, or `copies.Copies`; `split`: see `split_feed_forwards`."""

    make: Callable[..., Any]
    given: tuple[Any, ...]
    options: dict[str, Any]
    device: str
    split: SplitChoice = "off"


class Tell(NamedTuple):
    """Keys and values of a prompt, or of a picture's CLIP tokens, for network `side`: call them `number`."""

    side: int
    number: int
    picture: bool


class MemoryState(NamedTuple):
    """Of the memory `number`; `made` and `dropped` of a rolling one. `sizes`: its arguments, to make it where new."""

    number: int
    rolls: bool
    sizes: dict[str, Any]
    frames: int
    made: int = 0
    dropped: int = 0


class Forward(NamedTuple):
    """A forward of network `side`; the tensors are its inputs of these names."""

    side: int
    names: tuple[str, ...]
    prefill: bool
    text: int | None
    image: int | None
    memory: MemoryState | None


class Decode(NamedTuple):
    """Decode the latents after cache `before`, which is used up or not, and call the next cache `after`."""

    before: int | None
    used_up: bool
    after: int


class Copy(NamedTuple):
    """Call a copy of cache `number`, on the GPU or in host memory, `copy`."""

    number: int
    copy: int
    on_gpu: bool


class Ask(NamedTuple):
    """Call `question` in every process, for the leader to have all answers."""

    question: Callable[[], Any]


class Rest(NamedTuple):
    """Forget all prompts and memories: the next walk has its own."""


Order = Build | Tell | Forward | Decode | Copy | Ask | Rest


class _Message(NamedTuple):
    order: Order
    ended: tuple[int, ...]
    tensors: tuple[tuple[torch.Size, torch.dtype, bool], ...]


def send(order: Order, ended: tuple[int, ...], *tensors: Tensor) -> None:
    """To all other processes."""
    heads = tuple((tensor.shape, tensor.dtype, tensor.is_cuda) for tensor in tensors)
    dist.broadcast_object_list([_Message(order, ended, heads)], 0, device=CPU)
    for tensor in tensors:
        dist.broadcast(tensor.contiguous(), 0)


def receive() -> tuple[Order, tuple[int, ...], list[Tensor]]:
    """What `send` was given; tensors of a GPU are on the current one."""
    box: list[Any] = [None]
    dist.broadcast_object_list(box, 0, device=CPU)
    message: _Message = box[0]
    tensors = []
    for shape, dtype, on_gpu in message.tensors:
        tensors.append(torch.empty(shape, dtype=dtype, device="cuda" if on_gpu else CPU))
        dist.broadcast(tensors[-1], 0)
    return message.order, message.ended, tensors


def state_of(memory: KVMemory | RollingMemory, number: int) -> MemoryState:
    """For the others to have the same."""
    sizes: dict[str, Any] = {"tokens_per_frame": memory.tokens_per_frame, "fp8": memory.fp8}
    if isinstance(memory, RollingMemory):
        sizes |= {
            "window": memory.capacity_frames - memory.sink,
            "sink": memory.sink,
            "chunk": memory.chunk,
            "rotated": memory.rotated,
        }
        return MemoryState(number, True, sizes, memory.frames, memory.made, memory.dropped)
    sizes |= {
        "memory_frames": memory.memory_frames,
        "new_frames": memory.capacity_frames - memory.memory_frames,
        "compact": memory.compact,
    }
    return MemoryState(number, False, sizes, memory.frames)
