"""What the processes do that do not lead: build what the leader builds, and share its forwards and decodes."""

from __future__ import annotations

import gc
import signal
import warnings
from dataclasses import replace
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from ..dit import Inputs, KVMemory, RollingMemory, TextKV
from ..gpu import current
from ..vae import VAECache
from ..walk import Walker
from ..walk.walker import fast_attention
from . import orders
from .job import own_device
from .lead import answers
from .peers import Peers
from .share import decode_strip, gathered, networks, share_networks, strip_decoder


def follow(job: Peers) -> NoReturn:
    """Obey until the leader ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the leader gets it too, and ends this process when it has finished
    warnings.simplefilter("ignore")  # the leader says what is to be said
    try:
        follower: Follower | None = None
        while True:
            order, ended, tensors = orders.receive()
            if isinstance(order, orders.Build):
                follower = None  # freed before its successor is made
                release()
                follower = Follower(order)
            else:
                assert follower is not None
                follower.obey(order, ended, tensors)
            del order, tensors
    except torch.OutOfMemoryError:
        job.give_up("its GPU's memory is full")
    except Exception as error:
        job.give_up(" ".join(str(error).split()) or type(error).__name__)


def release() -> None:
    """Give freed memory back, for others on this GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Follower:
    """Has what the leader has, by the leader's numbers."""

    def __init__(self, build: orders.Build) -> None:
        made = build.make(*build.given, device=own_device(build.device), **build.options)
        self._walker: Walker = made.walker
        share_networks(self._walker, build.split)
        self._device = self._walker.device
        self._networks = networks(self._walker)
        self._decoder = strip_decoder(self._walker)
        self._told: dict[int, TextKV] = {}
        self._memories: dict[int, KVMemory | RollingMemory] = {}
        self._caches: dict[int, VAECache] = {}

    @torch.no_grad()
    def obey(self, order: orders.Order, ended: tuple[int, ...], tensors: list[Tensor]) -> None:
        """Forget what `ended`, and do what `order` says."""
        for number in ended:
            for things in (self._told, self._memories, self._caches):
                things.pop(number, None)
        with current(self._device):
            self._do(order, tensors)

    def _do(self, order: orders.Order, tensors: list[Tensor]) -> None:
        if isinstance(order, orders.Forward):
            self._forward(order, tensors)
        elif isinstance(order, orders.Decode):
            self._decode(order, tensors[0])
        elif isinstance(order, orders.Tell):
            network = self._networks[order.side]
            make = network.image_keys_values if order.picture else network.text_keys_values
            self._told[order.number] = make(tensors[0])
        elif isinstance(order, orders.Copy):
            place = self._device if order.on_gpu else orders.CPU
            self._caches[order.copy] = tuple(tensor.to(place) for tensor in self._caches[order.number])
        elif isinstance(order, orders.Rest):
            self._told.clear()
            self._memories.clear()
            release()
        else:
            assert isinstance(order, orders.Ask)
            answers(order.question)

    def _forward(self, order: orders.Forward, tensors: list[Tensor]) -> None:
        given: dict[str, Any] = dict(zip(order.names, tensors, strict=True))
        inputs = Inputs(
            text_kv=() if order.text is None else self._told[order.text],
            image_kv=None if order.image is None else self._told[order.image],
            memory=None if order.memory is None else self._memory(order.side, order.memory),
            prefill=order.prefill,
            **given,
        )
        with fast_attention(self._device):
            self._networks[order.side](inputs)

    def _memory(self, side: int, state: orders.MemoryState) -> KVMemory | RollingMemory:
        memory = self._memories.get(state.number)
        if memory is None:
            config = self._networks[side].config
            kind: Any = RollingMemory if state.rolls else KVMemory
            memory = self._memories[state.number] = kind(
                replace(config, num_heads=config.num_heads // dist.get_world_size()),
                device=self._device,
                dtype=self._walker.dtype,
                **state.sizes,
            )
        if isinstance(memory, RollingMemory):
            memory.follow(state.frames, state.made, state.dropped)
        memory.frames = state.frames
        return memory

    def _decode(self, order: orders.Decode, latents: Tensor) -> None:
        past: Any = None
        if order.before is not None:
            past = list(self._caches.pop(order.before)) if order.used_up else self._caches[order.before]
        assert self._decoder is not None
        frames, self._caches[order.after] = decode_strip(self._decoder, latents, past)
        gathered(frames, latents.shape[3], self._decoder.spatial_stride)
