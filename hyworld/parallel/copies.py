"""Networks of the leader copied to the other processes: it sends the weights that it runs with, whatever changed them.

So what the others run is what a host has loaded and patched, and they read no files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..config import DiTConfig, VAEConfig
from ..dit import WanDiT
from ..fp8 import use_fp8
from ..modes import Modes, fp8_rounding, network_kernels, set_vae_kernels
from ..vae import CausalVAE, make_vae
from ..walk import Recipe, Walker
from ..walk.decoding import Decoding
from . import orders
from .lead import Crew

Weigh = Callable[[str, torch.device], Tensor]
"""The weight of that name, as a network runs with it, of any dtype, on that device."""


class Copies(NamedTuple):
    """What `follow.Follower` asks of a pipeline."""

    walker: Walker


class Source(NamedTuple):
    """A network to be copied: its sizes, what it computes in, and its weights."""

    config: DiTConfig | VAEConfig
    dtype: torch.dtype
    weigh: Weigh


def copy_to_others(
    crew: Crew, networks: Sequence[Source], vae: Source | None, recipe: Recipe, modes: Modes, device: torch.device
) -> None:
    """Have the other processes hold these networks, and nothing of what they held.

    vae: None: they do not decode.
    modes: how the networks are run.
    """
    sources = [*networks, *(() if vae is None else (vae,))]
    with crew.job.watched():
        crew.tell(
            orders.Build(
                built,
                (
                    tuple((source.config, source.dtype) for source in networks),
                    None if vae is None else (vae.config, vae.dtype),
                    recipe,
                    modes,
                ),
                {},
                "cpu" if device.type == "cpu" else "cuda",
            )
        )
        for source in sources:
            for name, _, dtype in _wanted(_empty(source.config, source.dtype), source.dtype):
                dist.broadcast(source.weigh(name, device).to(device, dtype).contiguous(), 0)


def built(
    networks: Sequence[tuple[DiTConfig, torch.dtype]],
    vae: tuple[VAEConfig, torch.dtype] | None,
    recipe: Recipe,
    modes: Modes,
    *,
    device: str,
) -> Copies:
    """In a process that does not lead: the networks, with the weights that the leader sends meanwhile."""
    place = torch.device(device)
    dits = []
    for config, dtype in networks:
        dit = _received(config, dtype, place)
        assert isinstance(dit, WanDiT)
        dit.kernels = network_kernels(modes, place)
        if (rounding := fp8_rounding(modes)) is not None:
            use_fp8(dit, rounding)
        dits.append(dit)
    decoding = None
    if vae is not None:
        decoder = _received(*vae, place)
        assert isinstance(decoder, CausalVAE)
        set_vae_kernels(decoder, modes.kernels, place)
        decoding = Decoding(decoder, device=place, dtype=vae[1])
    first, *others = dits
    second = others[0] if others else None
    return Copies(Walker(first, recipe=recipe, second=second, decoding=decoding, device=place, dtype=networks[0][1]))


def _empty(config: DiTConfig | VAEConfig, dtype: torch.dtype) -> nn.Module:
    make = WanDiT if isinstance(config, DiTConfig) else make_vae
    return make(config, device="meta", dtype=dtype).eval().requires_grad_(False)  # type: ignore[arg-type]


def _wanted(empty: nn.Module, dtype: torch.dtype) -> Iterator[tuple[str, torch.Size, torch.dtype]]:
    """Name, shape and dtype of each weight that is sent: all but those that encode, which only the leader does."""
    for name, tensor in empty.state_dict().items():
        if not (isinstance(empty, CausalVAE) and name.startswith(("encoder.", "conv1."))):
            # Modulation is read in float32, also where the products are of fewer bits.
            yield name, tensor.shape, torch.float32 if name.endswith("modulation") else dtype


def _received(config: DiTConfig | VAEConfig, dtype: torch.dtype, device: torch.device) -> nn.Module:
    module = _empty(config, dtype)
    state = {}
    for name, shape, kind in _wanted(module, dtype):
        state[name] = torch.empty(shape, dtype=kind, device=device)
        dist.broadcast(state[name], 0)
    module.load_state_dict(state, strict=False, assign=True)
    return module.requires_grad_(False)
