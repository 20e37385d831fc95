"""The host's memory, interrupt and progress bar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import comfy.model_management
import comfy.utils
import torch

from ...hyworld.config import WAN_5B
from ...hyworld.walk import WORLDPLAY, Walker, World
from .server import server


class Together:
    """Networks and VAE, loaded to the GPU in one request, so that none evicts another (memory in bytes)."""

    def __init__(self, models: Sequence[Any], *, memory_required: int) -> None:
        self._models = list(models)
        self._memory_required = memory_required
        self._loaded: list[Any] = []

    def load(self) -> None:
        """Load them, unless they are as this left them: to ask again may move weights, and takes time."""
        if self._loaded and self._loaded == [_load_state(model) for model in self._models]:
            return
        comfy.model_management.load_models_gpu(list(self._models), memory_required=self._memory_required)
        self._loaded = [_load_state(model) for model in self._models]


def _load_state(patcher: Any) -> tuple[Any, ...]:
    model = patcher.model
    known = any(loaded.model is patcher for loaded in comfy.model_management.current_loaded_models)
    return known, model.device, model.model_loaded_weight_memory, model.current_weight_patches_uuid


def memory_for_walk(walker: Walker, world: World, *, tiny: bool) -> int:
    """Bytes a walk in `world` needs beside the weights: keys and values, and activations."""
    keys_values, activations = walker.bytes_needed(world.latent_shape[1:])
    decoding = memory_for_decoding(
        walker.network.config.latent_channels, world.spatial_stride, world.size, walker.dtype, tiny=tiny
    )
    return keys_values + max(activations, decoding)


def memory_for_decoding(
    channels: int, spatial_stride: int, size: tuple[int, int], dtype: torch.dtype, *, tiny: bool = False
) -> int:
    """Bytes that a decoder of this kind needs beside its weights for (height, width)."""
    # The host's own estimates: 8000 bytes a pixel for the Wan 2.2 VAE, of which smaller ones of its kind take their
    # share, and 7000 for that of Wan 2.1. Tiny decoders have a quarter of the channels.
    is_22 = spatial_stride == WORLDPLAY.spatial_stride
    of_pixel = (8000 * channels / WAN_5B.dit.latent_channels if is_22 else 7000) / (4 if tiny else 1)
    return int(of_pixel * size[0] * size[1] * dtype.itemsize)


def raise_if_interrupted() -> None:
    comfy.model_management.throw_exception_if_processing_interrupted()


def was_cancelled(error: BaseException | None) -> bool:
    """Whether an exception is the host's cancel."""
    return isinstance(error, comfy.model_management.InterruptProcessingException)


def same_device(one: torch.device, other: torch.device) -> bool:
    """Whether they are one; without a number it is the first."""
    return one.type == other.type and (one.index or 0) == (other.index or 0)


def output_device() -> torch.device:
    """The device for node outputs."""
    return comfy.model_management.intermediate_device()


@contextmanager
def explains_out_of_memory(what_to_do: str) -> Iterator[None]:
    """Give the host's out-of-memory error the text `what_to_do`; same class, so the host still frees its memory."""
    try:
        yield
    except comfy.model_management.OOM_EXCEPTION as error:
        raise comfy.model_management.OOM_EXCEPTION(what_to_do) from error


@contextmanager
def running(model: Any) -> Iterator[None]:
    """Call the patcher's `pre_run`, and `cleanup` at the end."""
    model.pre_run()
    try:
        yield
    finally:
        model.cleanup()


class ProgressBar:
    """The host's progress bar, and lines of text in the node."""

    def __init__(self, total: int, node_id: str | None) -> None:
        self._total = total
        self._done = 0
        self._node_id = node_id
        self._bar = comfy.utils.ProgressBar(total, node_id=node_id)
        self._server = server()

    def update(self, done: int) -> None:
        self._done = done
        self._bar.update_absolute(done, self._total)

    def say(self, text: str) -> None:
        """Show a line of text in the node, to the client that queued it alone."""
        client = getattr(self._server, "client_id", None)
        if client is not None and self._node_id is not None:
            self._server.send_progress_text(text, self._node_id, client)
