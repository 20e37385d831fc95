"""How the networks are run: choices that change speed and memory, and at most rounding or a measured error.

`docs/benchmarks.md` has what each of them brings and costs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch

from .config import MemoryConfig
from .cpu import multiplies_bfloat16
from .dit import PLAIN, Kernels, cpu_attention
from .dit.backends import AttentionChoice, attention_backend
from .errors import InputError
from .fp8 import QuantiseRows
from .gpu import fp8_attention_missing, fp8_convolutions_missing, fp8_missing, triton_missing
from .vae import CausalVAE
from .vae.kernels import PLAIN as VAE_PLAIN
from .walk import Recipe, Rolling

KernelChoice = Literal["auto", "plain", "triton"]
LinearChoice = Literal["exact", "fp8"]
ConvolutionChoice = Literal["exact", "fp8"]
KVChoice = Literal["auto", "fast", "compact"]
GraphChoice = Literal["auto", "on", "off"]
SpeedChoice = Literal["exact", "fast", "fastest"]
"""Good points between exact and fast, see `at_speed`."""

REMEMBERED = MemoryConfig().frames
REMEMBERED_CHOICES = (8, 12, REMEMBERED)


@dataclass(frozen=True)
class Modes:
    """Choices of a loaded pipeline.

    attention: "auto" is PyTorch's, exact; "flash" and "sage" need their package; "fp8" is self-attention in float8,
        whose keys and values are kept as that. sage and fp8 add error.
    kernels: between the matrix products: "triton" fuses, "plain" is PyTorch alone; "auto" is triton where it can run,
        and on CPUs that multiply in bfloat16 an attention that suits them.
    linears: "exact", or "fp8" with a scale per row (faster, half the weights' memory, a few percent of error).
    kv: "fast" keeps keys and values of both branches of attention, "compact" what both are made of: half the memory,
        same numbers; in fp8 as 8-bit integers, nearly the same. "auto" is compact with Triton, where it costs 2 % of
        the time, but not on cards of 40 GB and more; else fast.
    graphs: replay the forwards of the steady state (full memory) as CUDA graphs, same numbers; "auto": on NVIDIA cards.
    remembered: latents that a chunk of a model with cameras remembers: 16, as trained, or 12 or 8, the recent ones
        among them fewer.
    convolutions: those of the full decoder, "exact" or "fp8" (faster, half its caches, a little error).
    """

    attention: AttentionChoice = "auto"
    kernels: KernelChoice = "auto"
    linears: LinearChoice = "exact"
    kv: KVChoice = "auto"
    graphs: GraphChoice = "auto"
    remembered: int = REMEMBERED
    convolutions: ConvolutionChoice = "exact"

    def __post_init__(self) -> None:
        allowed: dict[str, tuple[Any, ...]] = {
            "attention": get_args(AttentionChoice),
            "kernels": get_args(KernelChoice),
            "linears": get_args(LinearChoice),
            "kv": get_args(KVChoice),
            "graphs": get_args(GraphChoice),
            "remembered": REMEMBERED_CHOICES,
            "convolutions": get_args(ConvolutionChoice),
        }
        for name, choices in allowed.items():
            value = getattr(self, name)
            if value not in choices:
                raise InputError(f"Modes.{name} must be one of {', '.join(map(str, choices))}, got {value!r}.")


def at_speed(speed: SpeedChoice, modes: Modes, decoder: str | None = None) -> Modes:
    """`modes` with what is left at its default chosen by `speed`: "fast" and "fastest" attend and multiply in fp8.

    decoder: what decodes; the full one convolves in fp8, too. None: nothing that these modes are for.
    """
    if speed == "exact":
        return modes
    if modes.kernels != "plain" and decoder is not None and decoder_at(speed, decoder) == "full":
        modes = replace(modes, convolutions="fp8")
    return replace(modes, linears="fp8", attention="fp8" if modes.attention == "auto" else modes.attention)


def decoder_at(speed: SpeedChoice, decoder: str) -> str:
    """The decoder likewise: "fastest" takes the tiny one."""
    return "tiny" if speed == "fastest" else decoder


def remembering(recipe: Recipe, modes: Modes) -> Recipe:
    """`recipe` with as many remembered latents as `modes` says; raises `InputError` if it fixes them itself."""
    if modes.remembered == REMEMBERED:
        return recipe
    memory = recipe.memory
    if isinstance(memory, Rolling):
        raise InputError(
            f"The recipe {recipe.name} remembers a window of latents that it was made for: leave the number of "
            f"remembered latents at {REMEMBERED}."
        )
    return replace(recipe, memory=replace(memory, frames=modes.remembered, recent=modes.remembered - memory.clip))


def wants_triton(choice: KernelChoice, device: torch.device) -> bool:
    """Whether to run Triton kernels on `device`; raises `InputError` if asked for by name and they cannot run."""
    if choice == "plain":
        return False
    missing = triton_missing(device)
    if missing is not None and choice == "triton":
        raise InputError(f"The Triton kernels cannot run: {missing}; choose the kernels auto or plain.")
    return missing is None


def why_slower(choice: KernelChoice, device: torch.device) -> str | None:
    """A sentence for the user of a GPU on which "auto" had to leave the Triton kernels out, with the reason."""
    missing = triton_missing(device) if choice == "auto" and device.type == "cuda" else None
    return None if missing is None else f"The fused GPU kernels are left out, so this is slower: {missing}."


def network_kernels(modes: Modes, device: torch.device) -> Kernels:
    """What the network's blocks run with; errors: see `check_modes`."""
    attend = attention_backend(modes.attention)
    kernels = PLAIN._replace(attend=attend)
    if wants_triton(modes.kernels, device):
        from .dit import fused, tiled_attention

        if modes.attention == "auto" and tiled_attention.gains_on(device):
            attend = tiled_attention.attend
        kernels = fused.kernels(attend)
    elif device.type == "cpu" and modes.kernels == modes.attention == "auto" and multiplies_bfloat16():
        kernels = PLAIN._replace(attend=cpu_attention.attend)
    if modes.attention == "fp8":
        from .dit import fused_attention

        kernels = kernels._replace(fp8=fused_attention.kernels())
    return kernels


def set_vae_kernels(vae: CausalVAE, choice: KernelChoice, device: torch.device, *, shared: bool = False) -> None:
    """Let `vae` decode with the kernels chosen; errors: see `wants_triton`.

    shared: its weights are somebody else's, too, and stay as they lie.
    """
    if not wants_triton(choice, device):
        vae.kernels = VAE_PLAIN
        return
    from .vae import fused

    vae.kernels = fused.kernels()
    if not shared:
        fused.lay_out(vae)


def check_modes(modes: Modes, device: torch.device, decoder: str = "full") -> None:
    """Raise `InputError` if what `modes` asks for by name cannot run on `device`, or with a tiny decoder."""
    wants_triton(modes.kernels, device)
    attention_backend(modes.attention)
    missing = fp8_attention_missing(device) if modes.attention == "fp8" else None
    if missing is not None:
        raise InputError(f"The fp8 attention cannot run: {missing}; choose the attention auto and the speed exact.")
    missing = fp8_missing(device) if modes.linears == "fp8" else None
    if missing is not None:
        raise InputError(f"The fp8 products cannot run: {missing}; choose the linears exact and the speed exact.")
    if modes.convolutions == "fp8":
        if decoder == "tiny":
            raise InputError(
                "The fp8 convolutions are the full decoder's: choose the decoder full or the convolutions exact."
            )
        if modes.kernels == "plain":
            raise InputError(
                "The fp8 convolutions are Triton kernels: choose the kernels auto or the convolutions exact."
            )
        missing = fp8_convolutions_missing(device)
        if missing is not None:
            raise InputError(
                f"The fp8 convolutions cannot run: {missing}; choose the convolutions exact and the speed exact."
            )
    if modes.graphs == "on" and not _has_graphs(device):
        raise InputError("The CUDA graphs cannot run: they need an NVIDIA card; choose the graphs auto or off.")


ROOMY = 40e9
"""Bytes of a card on which memory is not what is short."""


def keeps_compact(modes: Modes, *, fused: bool, device: torch.device | None = None) -> bool:
    """Whether keys and values are kept compact.

    fused: the network runs Triton kernels.
    device: whose memory is for this walk alone; None if it is not.
    """
    if modes.kv != "auto":
        return modes.kv == "compact"
    if not fused or device is None or device.type != "cuda":
        return fused
    return torch.cuda.get_device_properties(device).total_memory < ROOMY


def keeps_fp8(modes: Modes) -> bool:
    """Whether keys and values are kept in fp8."""
    return modes.attention == "fp8"


def fp8_rounding(modes: Modes) -> QuantiseRows | None:
    """How the network's linears round their inputs; None if they multiply exactly."""
    if modes.linears == "exact":
        return None
    from .dit.fused import quantise_rows

    return quantise_rows


def wants_graphs(modes: Modes, device: torch.device) -> bool:
    """Whether the forwards of the steady state are replayed as CUDA graphs."""
    return modes.graphs == "on" or (modes.graphs == "auto" and _has_graphs(device))


def _has_graphs(device: torch.device) -> bool:
    return device.type == "cuda" and torch.version.hip is None
