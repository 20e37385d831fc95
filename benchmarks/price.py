"""The error of each faster mode against the exact one, with the same weights and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from rich.table import Table
from torch import Tensor

from benchmarks.baseline import relative
from benchmarks.recording import FIRST_FULL, Recorded, record
from hyworld import World
from hyworld.bench.measure import Say, release
from hyworld.bench.workload import Setup, Source
from hyworld.config import TINY
from hyworld.modes import Modes


@dataclass(frozen=True)
class Price:
    """Error that a mode adds.

    Attributes:
        flow_error: of the first forward of a chunk with a full memory, relative.
        latents_error: of that chunk's latents after its four steps, relative.
        first_chunk_psnr_db: of the first chunk's frames; None if equal.
        random_weights: then the PSNR means nothing.
    """

    name: str
    flow_error: float
    latents_error: float
    first_chunk_psnr_db: float | None
    random_weights: bool


def price_modes(source: Source, setups: list[Setup], say: Say) -> list[Price]:
    """Measure what `setups` use of fp8 linears, fp8 attention, fp8 convolutions and tiny decoder, at the first's size.

    Raises as `Source.build`.
    """
    exact = Setup(setups[0].size, FIRST_FULL + 1)
    dear = {}
    if any(setup.modes.linears == "fp8" for setup in setups):
        dear["fp8 linears"] = replace(exact, modes=Modes(linears="fp8"))
    if any(setup.modes.attention == "fp8" for setup in setups):
        dear["fp8 attention"] = replace(exact, modes=Modes(attention="fp8"))
    if any(setup.modes.convolutions == "fp8" for setup in setups):
        dear["fp8 convolutions"] = replace(exact, modes=Modes(convolutions="fp8"))
    if any(setup.decoder == "tiny" for setup in setups):
        dear["tiny decoder"] = replace(exact, decoder="tiny")
    if not dear:
        return []
    say("prices: the exact mode")
    want = _recorded(source, exact, None)
    prices = []
    for name, setup in dear.items():
        say(f"prices: {name}")
        got = _recorded(source, setup, want.before)
        quality = psnr(got.first_frames, want.first_frames)
        prices.append(
            Price(
                name=name,
                flow_error=round(relative(got.flow, want.flow), 6),
                latents_error=round(relative(got.chunk.latents, want.chunk.latents), 6),
                first_chunk_psnr_db=None if math.isinf(quality) else round(quality, 2),
                random_weights=source.weights is None and source.preset is not TINY,
            )
        )
    return prices


def _recorded(source: Source, setup: Setup, before: World | None) -> Recorded:
    """`record`, with the pipeline freed afterwards."""
    recorded = record(source.build(setup), source, setup, before)
    release(source.device)
    return recorded


def psnr(got: Tensor, want: Tensor) -> float:
    """PSNR of uint8 pictures in dB; infinite for equal ones."""
    error = float((got.float() - want.float()).square().mean())
    return 10 * math.log10(255**2 / error) if error else math.inf


def price_table(prices: list[Price]) -> Table:
    table = Table(title="Error against the exact mode")
    for column in ("mode", "flow of one forward", "its chunk's latents", "first chunk's frames"):
        table.add_column(column, justify="left" if column == "mode" else "right")
    for price in prices:
        quality = "equal" if price.first_chunk_psnr_db is None else f"{price.first_chunk_psnr_db:.1f} dB PSNR"
        table.add_row(price.name, f"{price.flow_error:.3%}", f"{price.latents_error:.3%}", quality)
    return table
