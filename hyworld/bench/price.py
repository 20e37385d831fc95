"""What faster modes cost in accuracy: each by itself against the exact mode, same weights and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor

from ..config import TINY
from ..modes import Modes
from ..rollout import RolloutState
from .baseline import FIRST_FULL, relative
from .measure import Say, release
from .probes import RecordingNetwork
from .workload import Setup, Source, start, walk


@dataclass(frozen=True)
class Price:
    """Error that a mode adds.

    Attributes:
        flow_error: of the first forward of a chunk with a full memory, relative.
        latents_error: of that chunk's latents, after its four steps.
        first_chunk_psnr_db: of the first chunk's decoded frames; None where they are equal.
        random_weights: then the pictures mean nothing, and least of all the tiny decoder's.
    """

    name: str
    flow_error: float
    latents_error: float
    first_chunk_psnr_db: float | None
    random_weights: bool


class _Sample(NamedTuple):
    """The first chunk's frames; a later state, and what came of the chunk after it."""

    frames: Tensor
    state: RolloutState
    flow: Tensor
    latents: Tensor


def price_modes(source: Source, setups: list[Setup], say: Say) -> list[Price]:
    """Price fp8 linears and the tiny decoder, as far as `setups` use them, at the first one's size.

    Raises:
        InputError: as `Source.build`.
    """
    exact = Setup(setups[0].size, FIRST_FULL + 1)
    dear = {}
    if any(setup.modes.linears == "fp8" for setup in setups):
        dear["fp8 linears"] = replace(exact, modes=Modes(linears="fp8"))
    if any(setup.decoder == "tiny" for setup in setups):
        dear["tiny decoder"] = replace(exact, decoder="tiny")
    if not dear:
        return []
    say("prices: the exact mode")
    want = _sample(source, exact, None)
    prices = []
    for name, setup in dear.items():
        say(f"prices: {name}")
        got = _sample(source, setup, want.state)
        quality = psnr(got.frames, want.frames)
        prices.append(
            Price(
                name=name,
                flow_error=round(relative(got.flow, want.flow), 6),
                latents_error=round(relative(got.latents, want.latents), 6),
                first_chunk_psnr_db=None if math.isinf(quality) else round(quality, 2),
                random_weights=source.weights is None and source.preset is not TINY,
            )
        )
    return prices


def _sample(source: Source, setup: Setup, state: RolloutState | None) -> _Sample:
    """Make the first chunk, and the one after `state` (default: after a walk that fills the memory)."""
    path = walk(setup.chunks)
    world = source.build(setup)
    engine = world.engine
    start(world, source, setup)
    first = engine.step(path.chunk(0))
    engine.decoder = None  # of the later chunks only latents are compared
    if state is None:
        for i in range(1, FIRST_FULL):
            engine.step(path.chunk(i))
        state = replace(engine.state(), decoder_cache=None)
    engine.resume(state)
    recorded = RecordingNetwork(engine.model)
    engine.model = recorded
    chunk = engine.step(path.chunk(FIRST_FULL))
    assert first.frames is not None
    assert recorded.flow is not None
    sample = _Sample(first.frames, state, recorded.flow.cpu(), chunk.latents.cpu())
    del world, engine, recorded
    release(source.device)
    return sample


def psnr(got: Tensor, want: Tensor) -> float:
    """Peak signal-to-noise ratio of pictures uint8, in dB; infinite for equal ones."""
    error = float((got.float() - want.float()).square().mean())
    return 10 * math.log10(255**2 / error) if error else math.inf
