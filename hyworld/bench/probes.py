"""Timers around a walker's `network(...)` and `decoder.decode_stream(...)`; the walk itself is unchanged."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..dit import Inputs
from ..vae import StreamingDecoder, VAECache
from ..vae.stream import Past
from ..walk import Network
from ..walk.wrapped import WrappedDecoder, WrappedNetwork

PREFILL = "prefill"
STEP = "step_"
DECODE = "decode"


def step_name(step: int) -> str:
    return f"{STEP}{step}"


class Clock:
    """Time marks: CUDA events on a GPU, the host's clock elsewhere."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def mark(self) -> Any:
        """The moment when the device has done everything queued so far."""
        if self.device.type != "cuda":
            self.wait()
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def milliseconds(self, begin: Any, end: Any) -> float:
        """Time between two marks; call `wait` first."""
        return begin.elapsed_time(end) if self.device.type == "cuda" else 1000 * (end - begin)


class Span(NamedTuple):
    stage: str
    begin: Any
    end: Any


class Probe:
    """The timed calls of one chunk, and the host time of the first.

    stages: of a chunk; see `measure.stages_of`.
    forwards: of a step.
    """

    def __init__(self, clock: Clock, stages: tuple[str, ...] = (), forwards: int = 1) -> None:
        self.clock = clock
        self.stages = stages
        self.forwards = forwards
        self.clear()

    def clear(self) -> None:
        self.spans: list[Span] = []
        self.first_call: float | None = None

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Record the body as a call of `stage`."""
        if self.first_call is None:
            self.first_call = time.perf_counter()
        begin = self.clock.mark()
        yield
        self.spans.append(Span(stage, begin, self.clock.mark()))

    def calls(self, prefix: str) -> int:
        """Number of calls so far whose stage starts with `prefix`."""
        return sum(span.stage.startswith(prefix) for span in self.spans)


class TimedNetwork(WrappedNetwork):
    """Times forwards, as a prefill or as the steps in their order."""

    def __init__(self, network: Network, probe: Probe) -> None:
        super().__init__(network)
        self.probe = probe

    def __call__(self, inputs: Inputs) -> Tensor | None:
        stage = PREFILL if inputs.prefill else step_name(self.probe.calls(STEP) // self.probe.forwards)
        with self.probe.time(stage):
            return self.network(inputs)


class TimedDecoder(WrappedDecoder):
    """Times its calls."""

    def __init__(self, decoder: StreamingDecoder, probe: Probe) -> None:
        super().__init__(decoder)
        self.probe = probe

    def decode_stream(self, latents: Tensor, cache: Past | None = None) -> tuple[Tensor, VAECache]:
        with self.probe.time(DECODE):
            return self.decoder.decode_stream(latents, cache)
