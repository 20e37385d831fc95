"""Networks of the leader copied to the other processes: it sends the weights that it runs with, whatever changed them.

So what the others run is what a host has loaded and patched, and they read no files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import DiTConfig, VAEConfig
from ..dit import WanDiT
from ..fp8 import FP8, use_fp8
from ..modes import Modes, fp8_rounding, network_kernels, set_vae_kernels
from ..vae import CausalVAE, make_vae
from ..vae.fp8_convolution import use_fp8_convolutions
from ..walk import Recipe, Walker
from ..walk.decoding import Decoding
from . import orders
from .lead import Crew

Weigh = Callable[[str, torch.device], Tensor]
"""The weight of that name, as a network runs with it, on that device: kept as fp8 if it is a Linear's and of that
dtype, else in what the network computes in."""


class Copies(NamedTuple):
    """What `follow.Follower` asks of a pipeline."""

    walker: Walker


class Source(NamedTuple):
    """A network to be copied: its sizes, what it computes in, and its weights.

    in_fp8: names of Linears' weights that `weigh` gives in fp8, and that are kept so.
    """

    config: DiTConfig | VAEConfig
    dtype: torch.dtype
    weigh: Weigh
    in_fp8: frozenset[str] = frozenset()


class Shell(NamedTuple):
    """A network without its weights."""

    config: DiTConfig | VAEConfig
    dtype: torch.dtype
    in_fp8: frozenset[str] = frozenset()

    def module(self) -> nn.Module:
        """On the meta device."""
        if isinstance(self.config, DiTConfig):
            made: nn.Module = WanDiT(self.config, operations=Casting, device="meta", dtype=self.dtype)
        else:
            made = make_vae(self.config, device="meta", dtype=self.dtype)
        return made.eval().requires_grad_(False)

    def wanted(self, module: nn.Module) -> list[tuple[str, torch.Size, torch.dtype]]:
        """Name, shape and dtype of each weight that is sent: all but those that encode, which only the leader does."""
        wanted = []
        for name, tensor in module.state_dict().items():
            if isinstance(module, CausalVAE) and name.startswith(("encoder.", "conv1.")):
                continue
            # Modulation is read in float32, also where the products are of fewer bits.
            wide = torch.float32 if name.endswith("modulation") else self.dtype
            wanted.append((name, tensor.shape, FP8 if name in self.in_fp8 else wide))
        return wanted


class Casting:
    """Layers of a network whose Linears may keep weights in fp8: they are cast in every forward, as hosts do."""

    LayerNorm, RMSNorm, Conv3d = nn.LayerNorm, nn.RMSNorm, nn.Conv3d

    class Linear(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight.to(x.dtype), self.bias)


def copy_to_others(
    crew: Crew, networks: Sequence[Source], vae: Source | None, recipe: Recipe, modes: Modes, device: torch.device
) -> None:
    """Have the other processes hold these networks, and nothing of what they held.

    vae: None: they do not decode.
    modes: how the networks are run.
    """
    sources = [*networks, *(() if vae is None else (vae,))]
    shells = [Shell(source.config, source.dtype, source.in_fp8) for source in sources]
    with crew.job.watched():
        crew.tell(
            orders.Build(
                built,
                (tuple(shells[: len(networks)]), None if vae is None else shells[-1], recipe, modes),
                {},
                "cpu" if device.type == "cpu" else "cuda",
            )
        )
        for source, shell in zip(sources, shells, strict=True):
            for name, _, dtype in shell.wanted(shell.module()):
                dist.broadcast(_bits(source.weigh(name, device).to(device, dtype).contiguous()), 0)


def built(
    networks: Sequence[Shell],
    vae: Shell | None,
    recipe: Recipe,
    modes: Modes,
    *,
    device: str,
) -> Copies:
    """In a process that does not lead: the networks, with the weights that the leader sends meanwhile."""
    place = torch.device(device)
    dits = []
    for shell in networks:
        dit = _received(shell, place)
        assert isinstance(dit, WanDiT)
        dit.kernels = network_kernels(modes, place)
        if (rounding := fp8_rounding(modes)) is not None:
            use_fp8(dit, rounding)
        dits.append(dit)
    decoding = None
    if vae is not None:
        decoder = _received(vae, place)
        assert isinstance(decoder, CausalVAE)
        if modes.convolutions == "fp8":
            use_fp8_convolutions(decoder)
        set_vae_kernels(decoder, modes.kernels, place)
        decoding = Decoding(decoder, device=place, dtype=vae.dtype)
    first, *others = dits
    second = others[0] if others else None
    return Copies(Walker(first, recipe=recipe, second=second, decoding=decoding, device=place, dtype=networks[0].dtype))


def _received(shell: Shell, device: torch.device) -> nn.Module:
    module = shell.module()
    state = {}
    for name, shape, dtype in shell.wanted(module):
        state[name] = torch.empty(shape, dtype=dtype, device=device)
        dist.broadcast(_bits(state[name]), 0)
    module.load_state_dict(state, strict=False, assign=True)
    return module.requires_grad_(False)


def _bits(tensor: Tensor) -> Tensor:
    """As it can be sent: gloo and older NCCL know no fp8."""
    return tensor.view(torch.uint8) if tensor.dtype == FP8 else tensor
