"""How the networks are run: choices that change speed and memory, and at most rounding or a measured error.

`docs/benchmarks.md` has what each of them brings and costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from .dit import PLAIN, Attend, Kernels, WorldPlayDiT, sdpa
from .errors import InputError
from .gpu import triton_missing
from .vae import WanVAE

KernelChoice = Literal["auto", "plain", "triton"]
LinearChoice = Literal["exact", "fp8"]
KVChoice = Literal["fast", "compact"]


@dataclass(frozen=True)
class Modes:
    """Choices of a loaded world.

    Attributes:
        kernels: what runs between the matrix products: "triton" fuses it (GPUs with Triton), "plain" is PyTorch alone,
            the reference that runs everywhere; "auto" takes Triton where it can.
        linears: "exact" multiplies in the network's dtype, "fp8" in float8 with a scale for every row (faster on
            cards that have it, half the weights' memory, a few percent of error).
        kv: "fast" keeps keys and values of both attention branches, "compact" keeps what both are made of (half the
            memory) and makes them anew in every forward. Same numbers.
        graphs: replay the forwards of the steady state (16 memory latents) as CUDA graphs.
    """

    kernels: KernelChoice = "auto"
    linears: LinearChoice = "exact"
    kv: KVChoice = "fast"
    graphs: bool = False

    def __post_init__(self) -> None:
        for name, choices in (("kernels", KernelChoice), ("linears", LinearChoice), ("kv", KVChoice)):
            value = getattr(self, name)
            if value not in get_args(choices):
                raise InputError(f"Modes.{name} must be one of {', '.join(get_args(choices))}, got {value!r}.")


def wants_triton(choice: KernelChoice, device: torch.device) -> bool:
    """Whether to run Triton kernels on `device`.

    Raises:
        InputError: they were asked for by name and cannot run.
    """
    if choice == "plain":
        return False
    missing = triton_missing(device)
    if missing is not None and choice == "triton":
        raise InputError(f"The Triton kernels cannot run: {missing}; choose the kernels auto or plain.")
    return missing is None


def network_kernels(choice: KernelChoice, device: torch.device, attend: Attend = sdpa) -> Kernels:
    """What the network's blocks run with, around the attention given; errors: see `wants_triton`."""
    if not wants_triton(choice, device):
        return PLAIN._replace(attend=attend)
    from .dit import fused

    return fused.kernels(attend)


def set_vae_kernels(vae: WanVAE, choice: KernelChoice, device: torch.device) -> None:
    """Let `vae` decode with the kernels chosen; errors: see `wants_triton`."""
    if wants_triton(choice, device):
        from .vae import fused

        vae.kernels = fused.kernels()


def apply_modes(modes: Modes, dit: WorldPlayDiT, vae: WanVAE, device: torch.device) -> None:
    """Run both networks as `modes` says; errors: see `wants_triton`."""
    dit.kernels = network_kernels(modes.kernels, device, dit.kernels.attend)
    set_vae_kernels(vae, modes.kernels, device)
