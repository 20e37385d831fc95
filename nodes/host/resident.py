"""The engine's own network over tensors that the host holds on the device: its speed, CUDA graphs included.

The host's layers ask in every call whether their weights have to be fetched, cast or patched. While all of them are on
the device as they are to be used and nobody has put anything around or into the network, that is not needed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import comfy.ops
import torch
from torch import Tensor, nn

from ...hyworld.dit import Inputs, WanDiT
from ...hyworld.dit.graphs import GraphedNetwork
from ...hyworld.fp8 import Fp8Linear
from ...hyworld.modes import Modes, wants_graphs
from .fp8 import HostFp8Linear
from .pages import Pages, fetched, is_paged

_KNOWN = ("torch.", "comfy.ops", __name__.removesuffix("nodes.host.resident"))
"""Where the classes of its modules come from, unless somebody has put others in."""

_PAGED_TRIES = 3
"""How often in a walk its pages may be missing before the host's layers do the rest."""


class _Held(NamedTuple):
    """A module of the host's, a tensor that it had, and where that lay."""

    module: nn.Module
    name: str
    tensor: Tensor
    address: int

    def is_so(self) -> bool:
        return self.module._parameters[self.name] is self.tensor and self.tensor.data_ptr() == self.address


class Resident:
    """Runs the forwards of one MODEL for the length of a walk, if all of it is in place; addresses are looked at anew
    before each."""

    def __init__(self, patcher: Any) -> None:
        self._patcher = patcher
        self._device: torch.device = patcher.load_device
        self._network: WanDiT | None = None
        self._graphed: GraphedNetwork | None = None
        self._graphs = wants_graphs(Modes(), self._device)
        self._held: list[_Held] = []
        self._layers: list[nn.Module] = []
        self._pages = Pages(())
        self._tries = _PAGED_TRIES

    @contextmanager
    def network(self, dtype: torch.dtype) -> Iterator[WanDiT | None]:
        """The network in place for one forward in `dtype`; None if the host's layers have to do it."""
        if self._network is not None and not self._still_so():
            self._let_go()
        if self._network is None and self._tries:
            self._take(dtype)
        if self._network is None:
            yield None
            return
        if not self._pages.pin():
            self._tries -= 1
            self._let_go()
            yield None
            return
        try:
            yield self._network
        finally:
            self._pages.unpin()

    def run(self, network: WanDiT, inputs: Inputs) -> Tensor | None:
        """A forward of `network`, recorded where that can be."""
        if self._graphs:
            self._graphed = self._graphed or GraphedNetwork(network)
            try:
                # A recording that fails leaves its own stream current.
                with torch.cuda.stream(torch.cuda.current_stream(self._device)):
                    return self._graphed(inputs)
            except RuntimeError as error:  # too little memory for it, above all
                logging.warning("HY-WorldPlay: CUDA graphs are left out: %s", error)
                self._graphs, self._graphed = False, None
        return network(inputs)

    def _still_so(self) -> bool:
        return all(held.is_so() for held in self._held) and not any(map(_is_patched, self._layers))

    def _let_go(self) -> None:
        self._network = self._graphed = None
        self._held, self._layers, self._pages = [], [], Pages(())

    def _take(self, dtype: torch.dtype) -> None:
        hosted = self._patcher.model.diffusion_model
        if not isinstance(hosted, WanDiT):  # compiled as a whole
            return
        layers = [module for module in hosted.modules() if isinstance(module, comfy.ops.CastWeightBiasOp)]
        if not all(map(_is_known, hosted.modules())) or any(map(_is_patched, layers)):
            return
        paged = [layer for layer in layers if is_paged(layer)]
        tensors = self._tensors(hosted, set(paged), dtype)
        if tensors is None:
            return
        in_pages = fetched(paged, self._device, dtype)
        if in_pages is None:
            self._tries -= 1
            return
        self._layers, self._pages = layers, Pages(paged)
        self._held = [
            _Held(module, name, tensor, tensor.data_ptr())
            for module in hosted.modules()
            for name, tensor in module._parameters.items()
            if tensor is not None
        ]
        self._network = _made(hosted, {**tensors, **in_pages})

    def _tensors(self, hosted: nn.Module, paged: set[nn.Module], dtype: torch.dtype) -> dict[nn.Module, Any] | None:
        """What each module holds itself, by name; None if one of them is not to be used as it is."""
        found = {}
        for module in hosted.modules():
            own = {name: tensor for name, tensor in module._parameters.items() if tensor is not None}
            if module in paged or not own:
                continue
            if not all(_is_in_place(tensor, self._device, dtype) for tensor in own.values()) and not (
                isinstance(module, HostFp8Linear) and module.is_loaded(self._device)
            ):
                return None
            found[module] = own
        return found


def _made(hosted: Any, tensors: dict[nn.Module, dict[str, Tensor]]) -> WanDiT:
    network = WanDiT(hosted.config, device="meta").eval().requires_grad_(False)
    for name, module in hosted.named_modules():
        own = tensors.get(module, {})
        if isinstance(module, HostFp8Linear):
            layer = Fp8Linear(own["weight"], own["scale_weight"], own["bias"], module.quantise)
            network.set_submodule(name, layer)
        elif own:
            network.get_submodule(name)._parameters.update(own)
    network.kernels, network.fingerprint = hosted.kernels, hosted.fingerprint
    return network


def _is_in_place(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> bool:
    return type(tensor.data) is Tensor and tensor.device == device and tensor.dtype == dtype


def _is_patched(layer: Any) -> bool:
    return bool(layer.weight_function or layer.bias_function)


def _is_known(module: nn.Module) -> bool:
    """Whether it is a layer of the host's, ours or torch's as it was made, and nobody listens to it."""
    changed = (
        module._forward_hooks or module._forward_pre_hooks or {"forward", "_compiled_call_impl"} & vars(module).keys()
    )
    return type(module).__module__.startswith(_KNOWN) and not changed
