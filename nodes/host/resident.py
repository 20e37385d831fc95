"""Plain modules over tensors that the host holds on the device.

The host's layers ask in every call whether their weights have to be fetched, cast or patched, and the fast paths of the
engine do not know them. While all weights are on the device as they are to be used, and nobody has put anything around
or into the module, a plain one can run in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeVar

import comfy.ops
import torch
from torch import Tensor, nn

from ...hyworld.fp8 import Fp8Linear
from .fp8 import HostFp8Linear
from .pages import Pages, fetched, is_paged

_KNOWN = ("torch.", "comfy.ops", __name__.removesuffix("nodes.host.resident"))
"""Where the classes of a hosted module come from, unless somebody has put others in."""

_PAGED_TRIES = 3
"""How often pages may be missing before the host's layers do the rest."""

Plain = TypeVar("Plain", bound=nn.Module)


class _Held(NamedTuple):
    """A module of the host's, a tensor that it had, and where that lay."""

    module: nn.Module
    name: str
    tensor: Tensor
    address: int

    def is_so(self) -> bool:
        return self.module._parameters.get(self.name) is self.tensor and self.tensor.data_ptr() == self.address


class Resident(Generic[Plain]):
    """A plain module in place of a hosted one; whether that can be is asked anew before each use.

    made: makes it from the hosted one, without weights.
    """

    def __init__(self, device: torch.device, made: Callable[[Any], Plain]) -> None:
        self._device = device
        self._made = made
        self._plain: Plain | None = None
        self._held: list[_Held] = []
        self._layers: list[nn.Module] = []
        self._pages = Pages(())
        self._tries = _PAGED_TRIES

    @contextmanager
    def of(self, hosted: nn.Module, dtype: torch.dtype) -> Iterator[Plain | None]:
        """The plain module, for one use in `dtype`; None if the host's layers have to do it."""
        if self._plain is not None and not self._still_so():
            self._let_go()
        if self._plain is None and self._tries:
            self._take(hosted, dtype)
        if self._plain is not None and not self._pages.pin():
            self._tries -= 1
            self._let_go()
        try:
            yield self._plain
        finally:
            self._pages.unpin()

    def give_up(self) -> bool:
        """Leave everything to the host's layers, if they need less memory at a time; returns whether they do."""
        if not self._pages:
            return False
        self._tries = 0
        self._let_go()
        return True

    def _still_so(self) -> bool:
        return all(held.is_so() for held in self._held) and not any(map(_is_patched, self._layers))

    def _let_go(self) -> None:
        self._plain, self._held, self._layers, self._pages = None, [], [], Pages(())

    def _take(self, hosted: nn.Module, dtype: torch.dtype) -> None:
        layers = [module for module in hosted.modules() if isinstance(module, comfy.ops.CastWeightBiasOp)]
        if not all(map(_is_known, hosted.modules())) or any(map(_is_patched, layers)):
            return
        paged = [layer for layer in layers if is_paged(layer)]
        tensors = self._own_tensors(hosted, set(paged), dtype)
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
        self._plain = _filled(self._made(hosted), hosted, {**tensors, **in_pages})

    def _own_tensors(
        self, hosted: nn.Module, paged: set[nn.Module], dtype: torch.dtype
    ) -> dict[nn.Module, dict[str, Tensor]] | None:
        """What each module holds itself, by name; None if one of them is not to be used as it is."""
        found = {}
        for module in hosted.modules():
            own = {name: tensor for name, tensor in module._parameters.items() if tensor is not None}
            if module in paged or not own:
                continue
            if isinstance(module, HostFp8Linear):
                in_place = module.is_loaded(self._device) and module.bias.dtype == dtype
            else:
                in_place = all(_is_in_place(tensor, self._device, dtype) for tensor in own.values())
            if not in_place:
                return None
            found[module] = own
        return found


def _filled(plain: Plain, hosted: nn.Module, tensors: dict[nn.Module, dict[str, Tensor]]) -> Plain:
    for name, module in hosted.named_modules():
        own = tensors.get(module, {})
        if isinstance(module, HostFp8Linear):
            layer = Fp8Linear(own["weight"], own["scale_weight"], own["bias"], module.quantise)
            plain.set_submodule(name, layer)
        elif own:
            plain.get_submodule(name)._parameters.update(own)
    return plain


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
