"""One walk on several GPUs: worker processes with copies of the host's networks, kept from walk to walk."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import comfy.model_management
import comfy.ops
import torch
from comfy.patcher_extension import CallbacksMP, WrappersMP
from torch import Tensor

from ...hyworld.config import PATCH
from ...hyworld.dit import Inputs
from ...hyworld.errors import InputError
from ...hyworld.parallel import RankLostError, orders
from ...hyworld.parallel.copies import Source, copy_to_others
from ...hyworld.parallel.hired import Hired
from ...hyworld.parallel.lead import Crew, SharedDecoder, SharedNetwork
from ...hyworld.parallel.share import check_heads, for_strip
from ...hyworld.parallel.tokens import TokenExchange
from ...hyworld.vae import VAECache
from ...hyworld.vae.stream import Past
from ...hyworld.walk import Walker, World
from ...hyworld.walk.decoding import DecoderCaches
from .run import raise_if_interrupted, same_device
from .vae import HostDecoder, HostVAE
from .weights import in_fp8, weigher

KEY = "hyworld-gpus"


def check_gpus(gpus: int, device: torch.device) -> None:
    """Raise `InputError` if this computer cannot share a walk among so many processes; on a CPU it always can."""
    if gpus == 1 or device.type == "cpu":
        return
    if device.type != "cuda" or not torch.distributed.is_nccl_available():
        raise InputError(f"Several GPUs share a walk through NCCL, which is not here ({device.type}): set gpus to 1.")
    there = torch.cuda.device_count()
    if there < gpus:
        found = "one GPU" if there == 1 else f"{there} GPUs"
        raise InputError(f"gpus is {gpus}, but ComfyUI sees {found}: set gpus to {there} or less.")


def ends_with(patcher: Any) -> None:
    """Have the workers end when the host unloads the model of this patcher, or of a clone."""
    patcher.add_callback_with_key(CallbacksMP.ON_DETACH, KEY, _detached)


def _detached(patcher: Any, unpatch_all: bool) -> None:
    # Otherwise another clone of it is about to be loaded.
    if unpatch_all:
        _end_of(id(patcher.model))


class _Staff:
    """The worker processes, and which networks they hold."""

    def __init__(self, devices: Sequence[str]) -> None:
        logging.info("HY-WorldPlay: starting %d more processes, for %s.", len(devices) - 1, ", ".join(devices[1:]))
        self.devices = tuple(devices)
        self.hired = Hired(devices, raise_if_interrupted)
        self.crew = Crew(self.hired)
        self.caches = DecoderCaches()
        self.walking = False
        self._held: tuple[Any, ...] = ()
        self._ends: dict[int, Any] = {}

    def hold(self, walker: Walker, models: Sequence[Any], vae: HostVAE | None) -> None:
        """Have them hold these models, as they are patched now, and the VAE; nothing is sent if they do."""
        held: tuple[Any, ...] = tuple((id(each.model), each.patches_uuid) for each in models)
        held += (None if vae is None else (vae.fingerprint, vae.dtype),)
        if held == self._held:
            return
        self._held, self.caches = (), DecoderCaches()
        self.forget()
        model = models[0].model
        networks = [
            Source(each.model.diffusion_model.config, walker.dtype, weigher(each), in_fp8(each)) for each in models
        ]
        decoder = None if vae is None else Source(vae.config, vae.dtype, vae.weigh)
        copy_to_others(self.crew, networks, decoder, walker.recipe, model.modes, walker.device)
        self._held = held
        for each in models:
            self._ends[id(each.model)] = weakref.finalize(each.model, _end_of, id(each.model))
            self._ends[id(each.model)].atexit = False

    def forget(self) -> None:
        """Models may end without ending this."""
        for end in self._ends.values():
            end.detach()
        self._ends.clear()

    def is_of(self, model: int) -> bool:
        return model in self._ends

    def rest(self) -> None:
        """Between walks."""
        with suppress(RankLostError):  # which the next walk sees
            self.caches.park()
            with self.hired.watched():
                self.crew.tell(orders.Rest())

    def close(self) -> None:
        self.forget()
        self.hired.close()


class _Now:
    """The workers there are; torch has one job in a process."""

    staff: _Staff | None = None


def _end() -> None:
    if _Now.staff is not None:
        staff, _Now.staff = _Now.staff, None
        staff.close()


def _end_of(model: int) -> None:
    """End the workers if they hold the model of this id, and nobody walks."""
    if _Now.staff is not None and not _Now.staff.walking and _Now.staff.is_of(model):
        _end()


@contextmanager
def shared(
    walker: Walker, models: Sequence[Any], vae: HostVAE, decoder: HostDecoder, world: World, *, memory: int
) -> Iterator[None]:
    """A context in which `walker` shares its work with worker processes, if its models were loaded for several GPUs.

    models: loaded, and patched as they are to run.
    memory: bytes that a walk in `world` needs on each GPU, beside weights.

    Raises `InputError` for what cannot be shared, `RankLostError` when a process has ended.
    """
    gpus = models[0].model.gpus
    if gpus == 1:
        yield
        return
    _check(models, world)
    devices = _devices(models[0].load_device, gpus)
    strips = isinstance(decoder, HostVAE) and decoder.weights_in_place() and same_device(decoder.device, walker.device)
    strips = strips and world.latent_shape[1] >= gpus
    _make_room(devices[1:], models, memory)
    staff = _Now.staff
    if staff is not None and not (staff.devices == devices and staff.hired.together):
        _end()
        staff = None
    if staff is None:
        staff = _Now.staff = _Staff(devices)
    staff.walking = True
    try:
        staff.hold(walker, models, vae if strips else None)
        with _bound(walker, models, decoder if strips else None, staff):
            yield
    except Exception as error:
        if isinstance(error, RuntimeError) and not isinstance(error, RankLostError):
            staff.hired.wait_for_loss()
        if staff.hired.lost is not None and not isinstance(error, RankLostError):
            raise RankLostError(staff.hired.lost) from error
        raise
    finally:
        if staff.hired.together:
            staff.rest()
        staff.walking = False
        if not staff.hired.together:
            _end()


@contextmanager
def _bound(walker: Walker, models: Sequence[Any], decoder: HostVAE | None, staff: _Staff) -> Iterator[None]:
    """Network, decoder and caches of `walker` in their shared form, for the time being."""
    decoding, hosted = walker.decoding, [walker.network, walker.second][: len(models)]
    assert decoding is not None
    before = (decoding.decoder, decoding.caches)
    kernels = [each.model.diffusion_model.kernels for each in models]
    exchange = TokenExchange()
    walker.verify = staff.hired.verify
    try:
        for side, (network, each) in enumerate(zip(hosted, models, strict=True)):
            dit = each.model.diffusion_model
            dit.kernels = dit.kernels._replace(exchange=exchange)
            network.shared = _Network(dit, side, staff.crew)  # type: ignore[union-attr]
        if decoder is not None:
            decoding.decoder, decoding.caches = _Decoder(for_strip(decoder.module), decoder, staff.crew), staff.caches
        yield
    finally:
        for network, each, kernel in zip(hosted, models, kernels, strict=True):
            each.model.diffusion_model.kernels = kernel
            network.shared = None  # type: ignore[union-attr]
        decoding.decoder, decoding.caches = before


class _Network(SharedNetwork):
    def __call__(self, inputs: Inputs) -> Tensor | None:
        with _uninterrupted():
            return super().__call__(inputs)


class _Decoder(SharedDecoder):
    def decode_stream(self, latents: Tensor, cache: Past | None = None) -> tuple[Tensor, VAECache]:
        raise_if_interrupted()
        with _uninterrupted():
            return super().decode_stream(latents, cache)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Keep the host's layers from looking for interrupts: the others would wait in the middle of a forward for ever."""
    look = getattr(comfy.ops, "run_every_op", None)
    if look is None:  # old hosts look nowhere
        yield
        return
    comfy.ops.run_every_op = lambda: None
    try:
        yield
    finally:
        comfy.ops.run_every_op = look


def _check(models: Sequence[Any], world: World) -> None:
    gpus = models[0].model.gpus
    for each in models:
        if each.model.gpus != gpus:
            raise InputError(
                f"The two models were loaded for {gpus} and {each.model.gpus} GPUs: load both with the same gpus."
            )
        check_heads(each.model.diffusion_model.config.num_heads, gpus)
        compiled = "torch.compile" in each.wrappers.get(WrappersMP.APPLY_MODEL, {})
        if compiled or any(hasattr(patch, "_orig_mod") for patch in each.object_patches.values()):
            raise InputError("A compiled model cannot be shared by GPUs: take the compile node out, or set gpus to 1.")
    tokens = world.latent_shape[1] * world.latent_shape[2] // PATCH**2
    if tokens < gpus:
        raise InputError(f"A latent of {tokens} tokens cannot be shared by {gpus} GPUs: take a larger size.")


def _devices(first: torch.device, gpus: int) -> tuple[str, ...]:
    if first.type == "cpu":
        return ("cpu",) * gpus
    own = first.index or 0
    others = [number for number in range(torch.cuda.device_count()) if number != own]
    return tuple(f"cuda:{number}" for number in (own, *others[: gpus - 1]))


def _make_room(devices: Sequence[str], models: Sequence[Any], memory: int) -> None:
    """Have the host take its models off these GPUs, as far as the workers need room."""
    needed = memory + sum(each.model_size() for each in models)
    for device in map(torch.device, devices):
        if any(same_device(loaded.device, device) for loaded in comfy.model_management.current_loaded_models):
            comfy.model_management.free_memory(needed, device)
