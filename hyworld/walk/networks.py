"""The networks of a walk and what they are told: one flow from up to two networks and two prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..config import DiTConfig
from ..dit import Inputs, KVMemory, RollingMemory, TextKV
from ..fingerprint import Fingerprint
from .recipe import Recipe
from .world import Words

Memory = KVMemory | RollingMemory


class Network(Protocol):
    """What a walker asks of a network: `WanDiT`, or a host's way of calling it."""

    @property
    def config(self) -> DiTConfig:
        """Its sizes."""

    @property
    def fingerprint(self) -> Fingerprint:
        """Tells it from others of its sizes; empty if not known."""

    def text_keys_values(self, text: Tensor) -> TextKV:
        """See `WanDiT.text_keys_values`."""

    def image_keys_values(self, clip: Tensor) -> TextKV:
        """See `WanDiT.image_keys_values`; asked only of networks that read CLIP tokens."""

    def __call__(self, inputs: Inputs) -> Tensor | None:
        """See `WanDiT.forward`."""


class Branch(NamedTuple):
    """One network, told one prompt. All branches of a walk read the same latents, each with a past of its own.

    side: 0, or 1 for the second network.
    """

    network: Network
    side: int
    text_kv: TextKV
    image_kv: TextKV | None
    memory: Memory | None = None

    def __call__(self, inputs: Inputs) -> Tensor | None:
        """A forward with this branch's prompt and past; what `inputs` says of these is ignored."""
        return self.network(inputs._replace(text_kv=self.text_kv, image_kv=self.image_kv, memory=self.memory))


class Networks:
    """Turns what a world is told into branches, and the flows of these into one.

    networks: one, or two with a boundary; may be replaced by others that do the same.
    """

    def __init__(self, networks: Sequence[Network], recipe: Recipe, device: torch.device, dtype: torch.dtype) -> None:
        self.networks = list(networks)
        self._boundary = recipe.boundary
        low = recipe.guidance if recipe.low_guidance is None else recipe.low_guidance
        self._guidance = (recipe.guidance, low)[: len(networks)]

        self._texts = [(_Last(), _Last()) for _ in networks]
        self._pictures = [_Last() for _ in networks]
        self._device = device
        self._dtype = dtype

    @property
    def branches(self) -> int:
        """How many branches there are."""
        return sum(1 + (scale != 1) for scale in self._guidance)

    @property
    def fingerprint(self) -> Fingerprint:
        """Of all networks together; empty if one is not known."""
        known = [network.fingerprint for network in self.networks]
        return sum(known, ()) if all(known) else ()

    def told(self, text: Tensor, negative: Words | None, clip: Tensor | None) -> tuple[Branch, ...]:
        """The branches, told these prompts and this picture; keys and values of those told last are kept."""
        branches = []
        for side, network in enumerate(self.networks):
            texts, image_kv = self._texts[side], None
            if network.config.clip_dim and clip is not None:
                image_kv = self._pictures[side](network.image_keys_values, clip, self._device, self._dtype)
            told = [text]
            if self._guidance[side] != 1:
                assert negative is not None, "a world to be guided has a negative prompt"
                told.append(negative.text)
            for last, one in zip(texts, told, strict=False):
                text_kv = last(network.text_keys_values, one, self._device, self._dtype)
                branches.append(Branch(network, side, text_kv, image_kv))
        return tuple(branches)

    def flow(self, branches: Sequence[Branch], inputs: Inputs, timestep: float) -> Tensor:
        """Float32 flow at `timestep` of the network in charge there, guided away from the negative prompt."""
        side = 0 if self._boundary is None or timestep >= self._boundary else 1
        flows = [_flow(branch, inputs) for branch in branches if branch.side == side]
        if len(flows) == 1:
            return flows[0]
        towards, away = flows
        return away + self._guidance[side] * (towards - away)


def _flow(branch: Branch, inputs: Inputs) -> Tensor:
    flow = branch(inputs)
    assert flow is not None
    return flow.float()


class _Last:
    """The keys and values that were made last."""

    def __init__(self) -> None:
        self._kept: tuple[Tensor, TextKV] | None = None

    def __call__(
        self, make: Callable[[Tensor], TextKV], told: Tensor, device: torch.device, dtype: torch.dtype
    ) -> TextKV:
        if self._kept is None or self._kept[0] is not told:
            self._kept = (told, make(told.to(device, dtype)))
        return self._kept[1]
