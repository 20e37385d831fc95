"""The host's memory, interrupt and progress bar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management
import comfy.utils
import torch

from ...hyworld.config import WAN_5B
from ...hyworld.walk import Walker
from .server import server


def load_together(model: Any, vae: Any, *, memory_required: int) -> None:
    """Load MODEL and VAE to the GPU in one request, so that neither evicts the other (memory in bytes)."""
    comfy.model_management.load_models_gpu([model, vae], memory_required=memory_required)


def memory_for_walk(walker: Walker, latent_size: tuple[int, int], *, tiny: bool) -> int:
    """Bytes a walk with latents of (h, w) needs beside the weights: keys and values, and activations."""
    keys_values, activations = walker.bytes_needed(latent_size)
    # The host's own estimate for this VAE: 8000 bytes x 256 per latent cell. The tiny decoder has a quarter of its
    # channels (256 instead of 1024).
    share = walker.network.config.latent_channels / WAN_5B.dit.latent_channels / (4 if tiny else 1)
    decoder = int(8000 * latent_size[0] * latent_size[1] * 256 * walker.dtype.itemsize * share)
    return keys_values + max(activations, decoder)


def raise_if_interrupted() -> None:
    comfy.model_management.throw_exception_if_processing_interrupted()


def was_cancelled(error: BaseException | None) -> bool:
    """Whether an exception is the host's cancel."""
    return isinstance(error, comfy.model_management.InterruptProcessingException)


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
