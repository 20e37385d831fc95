"""Stopwatches around the walker's network and decoder: the walk is the real one, only its calls are timed.

A probe knows nothing of the walker but that it calls `network(...)` and `decoder.decode_stream(...)`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..config import DiTConfig
from ..dit import Inputs, TextKV
from ..vae import StreamingDecoder, VAECache
from ..vae.stream import Past
from ..walk import Network

PREFILL = "prefill"
DECODE = "decode"


def step_name(step: int) -> str:
    """The stage of one denoising step."""
    return f"step_{step}"


class Clock:
    """Marks on a device's own timeline: CUDA events on an NVIDIA GPU, this machine's clock elsewhere."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def mark(self) -> Any:
        """Now, as the device sees it: when all that was queued before is done."""
        if self.device.type != "cuda":
            self.wait()
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def wait(self) -> None:
        """Until the device has done everything."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def milliseconds(self, begin: Any, end: Any) -> float:
        """Between two marks, after `wait`."""
        return begin.elapsed_time(end) if self.device.type == "cuda" else 1000 * (end - begin)


class Span(NamedTuple):
    """One timed call."""

    stage: str
    begin: Any
    end: Any


class Probe:
    """The timed calls of one chunk, and when the first of them was made."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.clear()

    def clear(self) -> None:
        """Forget everything: a new chunk begins."""
        self.spans: list[Span] = []
        self.first_call: float | None = None

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Time what is inside as a call of `stage`."""
        if self.first_call is None:
            self.first_call = time.perf_counter()
        begin = self.clock.mark()
        yield
        self.spans.append(Span(stage, begin, self.clock.mark()))

    def calls(self, prefix: str) -> int:
        """Calls so far of the stages whose name begins so."""
        return sum(span.stage.startswith(prefix) for span in self.spans)


class TimedNetwork:
    """A `Network` whose forwards are timed, as a prefill or as the steps in their order."""

    def __init__(self, network: Network, probe: Probe) -> None:
        self.network = network
        self.probe = probe

    @property
    def config(self) -> DiTConfig:
        """See `Network`."""
        return self.network.config

    def text_keys_values(self, text: Tensor) -> TextKV:
        """See `Network`."""
        return self.network.text_keys_values(text)

    def __call__(self, inputs: Inputs) -> Tensor | None:
        """See `Network`."""
        stage = PREFILL if inputs.prefill else step_name(self.probe.calls("step_"))
        with self.probe.time(stage):
            return self.network(inputs)


class TimedDecoder:
    """A `StreamingDecoder` whose calls are timed."""

    def __init__(self, decoder: StreamingDecoder, probe: Probe) -> None:
        self.decoder = decoder
        self.probe = probe

    @property
    def latent_channels(self) -> int:
        """See `StreamingDecoder`."""
        return self.decoder.latent_channels

    @property
    def reach(self) -> int:
        """See `StreamingDecoder`."""
        return self.decoder.reach

    def decode_stream(self, latents: Tensor, cache: Past | None = None) -> tuple[Tensor, VAECache]:
        """See `StreamingDecoder`."""
        with self.probe.time(DECODE):
            return self.decoder.decode_stream(latents, cache)
