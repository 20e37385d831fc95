"""Names of VAE checkpoints (native `Wan2.1_VAE.pth`, `Wan2.2_VAE.pth`, diffusers' `AutoencoderKLWan`), and sizes.

One table of module names serves both directions; the last part (`weight`, `bias`, `gamma`) is the same in both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from torch import Tensor

from ..config import VAEConfig, Wan21VAEConfig
from ..errors import InputError

T = TypeVar("T")

WAN22 = "the Wan 2.2 VAE (48 channels), wan2.2_vae.safetensors or Wan2.2_VAE.pth"
WAN21 = "the Wan 2.1 VAE (16 channels), wan_2.1_vae.safetensors or Wan2.1_VAE.pth"
EXPECTED = f"give {WAN22}; or {WAN21}"

ORIGINAL_ARGUMENTS = {
    "dim": "encoder_dim",
    "dec_dim": "decoder_dim",
    "z_dim": "z_dim",
    "dim_mult": "dim_mult",
    "num_res_blocks": "num_res_blocks",
    "temperal_downsample": "temporal_downsample",
    "latents_mean": "latents_mean",
    "latents_std": "latents_std",
}
"""Fields of `VAEConfig` by their names in a file's metadata: the original's arguments, in its spelling."""

RESIDUAL_BLOCK = {
    "residual.0": "norm1",
    "residual.2": "conv1",
    "residual.3": "norm2",
    "residual.6": "conv2",
    "shortcut": "conv_shortcut",
}
ATTENTION_BLOCK = {"norm": "norm", "to_qkv": "to_qkv", "proj": "proj"}
RESAMPLING = {"resample.1": "resample.1", "time_conv": "time_conv"}


class Layout(NamedTuple):
    """Which VAE names belong to. sizes: the class of its config; naming: "native" or "diffusers"."""

    sizes: type[VAEConfig]
    naming: str


TRAINING_HEADS = "dynamic_feature_projection_heads."
"""Begins the names of what a VAE distilled from another was trained with, and is not of it."""

LAYOUTS = {
    "encoder.downsamples.0.downsamples.0.residual.0.gamma": Layout(VAEConfig, "native"),
    "encoder.down_blocks.0.resnets.0.norm1.gamma": Layout(VAEConfig, "diffusers"),
    "encoder.downsamples.0.residual.0.gamma": Layout(Wan21VAEConfig, "native"),
    "encoder.down_blocks.0.norm1.gamma": Layout(Wan21VAEConfig, "diffusers"),
}
"""By the name of a tensor that no other has."""


def detect_vae(state: Mapping[str, Any]) -> Layout:
    """Which Wan VAE this is, with any common prefix; raises `InputError` if it is none."""
    names = _without_prefix(state)
    found = next((layout for name, layout in LAYOUTS.items() if name in names), None)
    if found is not None:
        return found
    example = f'its first tensor is "{next(iter(state))}"' if state else "it has no tensors"
    raise InputError(f"This file is not a Wan VAE ({example}); {EXPECTED}.")


def is_vae(state: Mapping[str, Any]) -> bool:
    """Whether `detect_vae` finds one."""
    return not LAYOUTS.keys().isdisjoint(_without_prefix(state))


def vae_to_native(state: Mapping[str, T]) -> dict[str, T]:
    """VAE tensors (native or diffusers names, any common prefix) under native names.

    Raises `InputError` as `detect_vae`, or for names that belong to no part of the VAE.
    """
    layout = detect_vae(state)
    state = _without_prefix(state)
    modules = _module_names(layout, state)
    return _rename(state, {native if layout.naming == "native" else theirs: native for native, theirs in modules})


def vae_to_diffusers(state: Mapping[str, T]) -> dict[str, T]:
    """Inverse of `vae_to_native`; raises `InputError` for names that belong to no part of the VAE."""
    return _rename(state, dict(_module_names(detect_vae(state), state)))


def vae_config_from(state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> VAEConfig:
    """Sizes of a VAE from its tensors (names as in `vae_to_native`).

    JSON under `metadata["config"]`, with names of `ORIGINAL_ARGUMENTS`, takes precedence. Latent statistics default to
    the released VAE's for as many channels, else to 0 and 1.
    Raises `InputError` if it is no Wan VAE, is incomplete, or has other metadata under "config".
    """
    layout, state = detect_vae(state), vae_to_native(state)
    try:
        stages, blocks = _depth(layout, state)
        layers = [[_native(layout, "encoder", i, k, blocks) for k in range(blocks + 1)] for i in range(stages)]
        widths = [state[f"{first}.residual.2.weight"].shape[0] for first, *_ in layers]
        encoder_dim = state["encoder.conv1.weight"].shape[0]
        z_dim = state["conv2.weight"].shape[0]
        sizes: dict[str, Any] = {
            "encoder_dim": encoder_dim,
            "decoder_dim": state["decoder.conv1.weight"].shape[0] * encoder_dim // widths[-1],
            "z_dim": z_dim,
            "dim_mult": tuple(width // encoder_dim for width in widths),
            "num_res_blocks": blocks,
            "temporal_downsample": tuple(f"{halving}.time_conv.weight" in state for *_, halving in layers[:-1]),
        }
    except KeyError as error:
        raise InputError(f"This VAE file is incomplete, it has no tensor {error}; {EXPECTED}.") from None
    if z_dim != layout.sizes.z_dim:
        sizes |= {"latents_mean": (0.0,) * z_dim, "latents_std": (1.0,) * z_dim}
    for theirs, value in _config_in(metadata).items():
        if theirs in ORIGINAL_ARGUMENTS:
            sizes[ORIGINAL_ARGUMENTS[theirs]] = tuple(value) if isinstance(value, list) else value
    return layout.sizes(**sizes)


def refuse_other_vae(config: VAEConfig, latent_channels: int) -> None:
    """Raise `InputError` unless the VAE makes latents of so many channels, those of a network."""
    if config.z_dim != latent_channels:
        version = "2.1" if isinstance(config, Wan21VAEConfig) else "2.2"
        wanted = {VAEConfig.z_dim: WAN22, Wan21VAEConfig.z_dim: WAN21}.get(
            latent_channels, "the VAE it was trained with"
        )
        raise InputError(
            f"This is a Wan {version} VAE ({config.z_dim} channels), and the latents of this model have "
            f"{latent_channels}: give {wanted}."
        )


def _without_prefix(state: Mapping[str, T]) -> dict[str, T]:
    """Drop a common prefix, such as `vae.` or `first_stage_model.`."""
    for name in state:
        anchor = re.fullmatch(r"(.+\.)encoder\.conv(1|_in)\.weight", name)
        if anchor:
            prefix = anchor.group(1)
            return {name.removeprefix(prefix): value for name, value in state.items()}
    return dict(state)


def _depth(layout: Layout, names: Mapping[str, Any]) -> tuple[int, int]:
    """Stages, and the encoder's residual blocks per stage."""
    if layout.sizes is Wan21VAEConfig:
        blocks, halvings = (
            len(_matching(rf"encoder\.(?:downsamples|down_blocks)\.(\d+)\.(?:{layer})", names))
            for layer in ("residual|norm1", "resample")
        )
        return halvings + 1, blocks // (halvings + 1)
    stages = _matching(r"encoder\.(?:downsamples|down_blocks)\.(\d+)\.", names)
    block = r"encoder\.(?:downsamples\.0\.downsamples|down_blocks\.0\.resnets)\.(\d+)\.(?:residual|norm)"
    return len(stages), len(_matching(block, names))


def _matching(pattern: str, names: Iterable[str]) -> set[str]:
    """What the pattern's group takes of the names that begin with it."""
    return {found.group(1) for name in names if (found := re.match(pattern, name))}


def _module_names(layout: Layout, names: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(native, diffusers) name of every module that may have weights."""
    stages, blocks = _depth(layout, names)
    yield "conv1", "quant_conv"
    yield "conv2", "post_quant_conv"
    for half, depth in (("encoder", blocks), ("decoder", blocks + 1)):
        yield f"{half}.conv1", f"{half}.conv_in"
        yield f"{half}.head.0", f"{half}.norm_out"
        yield f"{half}.head.2", f"{half}.conv_out"
        yield from _joined(f"{half}.middle.0", f"{half}.mid_block.resnets.0", RESIDUAL_BLOCK)
        yield from _joined(f"{half}.middle.1", f"{half}.mid_block.attentions.0", ATTENTION_BLOCK)
        yield from _joined(f"{half}.middle.2", f"{half}.mid_block.resnets.1", RESIDUAL_BLOCK)
        for stage in range(stages):
            for layer in range(depth + 1):
                native, theirs = (place(layout, half, stage, layer, depth) for place in (_native, _theirs))
                yield from _joined(native, theirs, RESIDUAL_BLOCK if layer < depth else RESAMPLING)


def _native(layout: Layout, half: str, stage: int, layer: int, depth: int) -> str:
    """The native name of a layer of a stage: `depth` residual blocks, then what changes the size."""
    way = "downsamples" if half == "encoder" else "upsamples"
    if layout.sizes is Wan21VAEConfig:
        return f"{half}.{way}.{stage * (depth + 1) + layer}"
    return f"{half}.{way}.{stage}.{way}.{layer}"


def _theirs(layout: Layout, half: str, stage: int, layer: int, depth: int) -> str:
    """The same layer's name in diffusers."""
    wan21, way = layout.sizes is Wan21VAEConfig, "down" if half == "encoder" else "up"
    if wan21 and half == "encoder":
        return f"{half}.down_blocks.{stage * (depth + 1) + layer}"
    last = "upsamplers.0" if wan21 else f"{way}sampler"
    return f"{half}.{way}_blocks.{stage}." + (f"resnets.{layer}" if layer < depth else last)


def _joined(native: str, theirs: str, layers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((f"{native}.{mine}", f"{theirs}.{other}") for mine, other in layers.items())


def _rename(state: Mapping[str, T], modules: Mapping[str, str]) -> dict[str, T]:
    renamed, unknown = {}, []
    for name, value in state.items():
        module, _, parameter = name.rpartition(".")
        if module in modules:
            renamed[f"{modules[module]}.{parameter}"] = value
        elif not name.startswith(TRAINING_HEADS):
            unknown.append(name)
    if unknown:
        examples = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        raise InputError(f"This VAE file has {len(unknown)} tensors too many ({examples}); {EXPECTED}.")
    return renamed


def _config_in(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    text = (metadata or {}).get("config", "{}")
    try:
        config = json.loads(text)
    except json.JSONDecodeError:
        config = None
    if not isinstance(config, dict):
        raise InputError(
            f'The metadata "config" of this VAE file must be a JSON object, got {text[:60]!r}; {EXPECTED}.'
        )
    return config
