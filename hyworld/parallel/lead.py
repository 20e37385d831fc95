"""The leader's side: a network and a decoder whose work all processes share, for the one loop that walks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from ..dit import Inputs, TextKV
from ..dit.graphs import changing
from ..vae import CausalVAE, StreamingDecoder, VAECache
from ..vae.stream import Past
from ..walk import Network
from ..walk.wrapped import WrappedDecoder, WrappedNetwork
from . import orders
from .numbers import Numbers
from .peers import Peers
from .share import decode_strip, gathered

Answer = TypeVar("Answer")


class Crew:
    """The other processes. One thread at a time tells them what to do."""

    def __init__(self, job: Peers) -> None:
        self.job = job
        self.numbers = Numbers()

    def tell(self, order: orders.Order, *tensors: Tensor) -> None:
        """Send `order`; what it needs of every process follows at once, here as there."""
        ended = self.numbers.ended
        orders.send(order, tuple(ended.popleft() for _ in range(len(ended))), *tensors)

    def ask(self, question: Callable[[], Answer]) -> list[Answer]:
        """What `question`, a function of a module, returns in each process."""
        with self.job.watched():
            self.tell(orders.Ask(question))
            return answers(question)


def answers(question: Callable[[], Answer]) -> list[Answer]:
    """In every process at once."""
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, question())
    return found


class SharedNetwork(WrappedNetwork):
    """A `Network` that all processes run; `side` is its number of those of a walk."""

    def __init__(self, network: Network, side: int, crew: Crew) -> None:
        super().__init__(network)
        self._side = side
        self.crew = crew

    def text_keys_values(self, text: Tensor) -> TextKV:
        return self._told(self.network.text_keys_values(text), text, picture=False)

    def image_keys_values(self, clip: Tensor) -> TextKV:
        return self._told(self.network.image_keys_values(clip), clip, picture=True)

    def _told(self, made: TextKV, of: Tensor, *, picture: bool) -> TextKV:
        with self.crew.job.watched():
            # A tuple cannot be watched; its first tensor lives as long.
            self.crew.tell(orders.Tell(self._side, self.crew.numbers.new(made[0][0]), picture), of)
        return made

    def __call__(self, inputs: Inputs) -> Tensor | None:
        tensors = changing(inputs)
        with self.crew.job.watched():
            self.crew.tell(
                orders.Forward(
                    self._side,
                    tuple(tensors),
                    inputs.prefill,
                    self._number(inputs.text_kv),
                    self._number(inputs.image_kv),
                    self._memory(inputs),
                ),
                *tensors.values(),
            )
            return self.network(inputs)

    def _number(self, told: TextKV | None) -> int | None:
        return self.crew.numbers.of(told[0][0]) if told else None

    def _memory(self, inputs: Inputs) -> orders.MemoryState | None:
        memory, numbers = inputs.memory, self.crew.numbers
        return None if memory is None else orders.state_of(memory, numbers.of(memory) or numbers.new(memory))


class Elsewhere:
    """The other processes' parts of a decoder cache; it is moved as a tensor is."""

    def __init__(self, crew: Crew, *, on_gpu: bool) -> None:
        self.number = crew.numbers.new(self)
        self.crew = crew
        self._on_gpu = on_gpu

    def cpu(self) -> Elsewhere:
        return self.to(orders.CPU)

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Elsewhere:
        on_gpu = device.type == "cuda"
        if on_gpu == self._on_gpu:
            return self
        copy = Elsewhere(self.crew, on_gpu=on_gpu)
        with self.crew.job.watched():
            self.crew.tell(orders.Copy(self.number, copy.number, on_gpu))
        return copy


class SharedDecoder(WrappedDecoder):
    """A `StreamingDecoder` of which every process decodes a strip.

    vae: with the kernels of this process's strip.
    whole: the same for a whole picture, for those too low to be cut.
    """

    def __init__(self, vae: CausalVAE, whole: StreamingDecoder, crew: Crew) -> None:
        super().__init__(whole)
        self._vae = vae
        self.crew = crew

    def decode_stream(self, latents: Tensor, cache: Past | None = None) -> tuple[Tensor, VAECache]:
        if latents.ndim != 5 or latents.shape[3] < dist.get_world_size():
            return super().decode_stream(latents, cache)
        own, elsewhere = _parted(cache)
        after = Elsewhere(self.crew, on_gpu=latents.is_cuda)
        before = None if elsewhere is None else elsewhere.number
        with self.crew.job.watched():
            self.crew.tell(orders.Decode(before, isinstance(cache, list), after.number), latents)
            frames, kept = decode_strip(self._vae, latents, own)
            return gathered(frames, latents.shape[3], self.spatial_stride), (*kept, cast("Tensor", after))


def _parted(cache: Past | None) -> tuple[Past | None, Elsewhere | None]:
    """This process's part and the others'; a list is used up, see `stream.Past`."""
    if cache is None:
        return None, None
    if isinstance(cache, list):
        elsewhere: Any = cache.pop()
        return cache, elsewhere
    return cache[:-1], cast("Any", cache[-1])
