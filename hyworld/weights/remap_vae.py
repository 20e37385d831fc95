"""Names of VAE checkpoints (native `Wan2.2_VAE.pth`, diffusers' `AutoencoderKLWan`), and sizes from their tensors.

One table of module names serves both directions; the last part (`weight`, `bias`, `gamma`) is the same in both.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from torch import Tensor

from ..config import TinyDecoderConfig, VAEConfig
from ..errors import InputError

T = TypeVar("T")

EXPECTED = "WorldPlay needs the Wan 2.2 VAE (48 channels), wan2.2_vae.safetensors or Wan2.2_VAE.pth"

OTHER_TINY_DECODERS = {
    16: "taehv or taew2_1 (HunyuanVideo, Wan 2.1)",
    24: "taeh3 (MiniMax H3)",
    32: "taehv1_5 (HunyuanVideo 1.5)",
    128: "taeltx (LTX-2)",
}
"""Tiny decoders for other models, by number of latent channels."""

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


def detect_vae(state: Mapping[str, Any]) -> str:
    """Whether a Wan 2.2 VAE has "native" or "diffusers" names, with any common prefix; else raises `InputError`."""
    names = _without_prefix(state)
    if "encoder.downsamples.0.downsamples.0.residual.0.gamma" in names:
        return "native"
    if "encoder.down_blocks.0.resnets.0.norm1.gamma" in names:
        return "diffusers"
    if _is_wan21(names):
        raise InputError(f"This is the Wan 2.1 VAE (16 latent channels); {EXPECTED}.")
    example = f'its first tensor is "{next(iter(state))}"' if state else "it has no tensors"
    raise InputError(f"This file is not a Wan VAE ({example}); {EXPECTED}.")


def vae_to_native(state: Mapping[str, T]) -> dict[str, T]:
    """VAE tensors (native or diffusers names, any common prefix) under native names.

    Raises `InputError` as `detect_vae`, or for names that belong to no part of the VAE.
    """
    names = detect_vae(state)
    state = _without_prefix(state)
    modules = _module_names(*_depth(state))
    return _rename(state, {native if names == "native" else theirs: native for native, theirs in modules})


def vae_to_diffusers(state: Mapping[str, T]) -> dict[str, T]:
    """Inverse of `vae_to_native`; raises `InputError` for names that belong to no part of the VAE."""
    return _rename(state, dict(_module_names(*_depth(state))))


def vae_config_from(state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> VAEConfig:
    """Sizes of a VAE from its tensors (names as in `vae_to_native`).

    JSON under `metadata["config"]`, with names of `ORIGINAL_ARGUMENTS`, takes precedence. Latent statistics default to
    the released VAE's for 48 channels, else to 0 and 1.
    Raises `InputError` if it is no Wan 2.2 VAE, is incomplete, or has other metadata under "config".
    """
    state = vae_to_native(state)
    try:
        stages, blocks = _depth(state)
        widths = [state[f"encoder.downsamples.{i}.downsamples.0.residual.2.weight"].shape[0] for i in range(stages)]
        encoder_dim = state["encoder.conv1.weight"].shape[0]
        z_dim = state["conv2.weight"].shape[0]
        sizes: dict[str, Any] = {
            "encoder_dim": encoder_dim,
            "decoder_dim": state["decoder.conv1.weight"].shape[0] * encoder_dim // widths[-1],
            "z_dim": z_dim,
            "dim_mult": tuple(width // encoder_dim for width in widths),
            "num_res_blocks": blocks,
            "temporal_downsample": tuple(
                f"encoder.downsamples.{i}.downsamples.{blocks}.time_conv.weight" in state for i in range(stages - 1)
            ),
        }
    except KeyError as error:
        raise InputError(f"This VAE file is incomplete, it has no tensor {error}; {EXPECTED}.") from None
    if z_dim != VAEConfig.z_dim:
        sizes |= {"latents_mean": (0.0,) * z_dim, "latents_std": (1.0,) * z_dim}
    for theirs, value in _config_in(metadata).items():
        if theirs in ORIGINAL_ARGUMENTS:
            sizes[ORIGINAL_ARGUMENTS[theirs]] = tuple(value) if isinstance(value, list) else value
    return VAEConfig(**sizes)


def tiny_config_from(state: Mapping[str, Tensor]) -> TinyDecoderConfig:
    """Sizes of a TAEHV file (Wan 2.2 variant) or of the built-in world's; raises `InputError` for anything else."""
    wanted = "the tiny decoder of Wan 2.2 5B is taew2_2 or taew2_2_super"
    if "decoder.stem.weight" in state:
        return _small_config_from(state)
    layout = "super" if "decoder.0.weight" in state else "base"
    stem, head = state.get("decoder.0.weight", state.get("decoder.1.weight")), state.get("decoder.22.weight")
    if stem is None or head is None or "decoder.7.conv.weight" not in state:
        raise InputError(f"This file is not a tiny decoder (TAEHV); {wanted}.")
    channels = stem.shape[1]
    if channels in OTHER_TINY_DECODERS or head.shape[0] != 12:
        name = OTHER_TINY_DECODERS.get(channels, "a tiny decoder of another model")
        raise InputError(f"This is {name} with {channels} latent channels; {wanted} (48 channels).")
    return TinyDecoderConfig(latent_channels=channels, layout=layout)


def _small_config_from(state: Mapping[str, Tensor]) -> TinyDecoderConfig:
    """Sizes of the "small" layout, which has three stages."""
    try:
        stem, head = state["decoder.stem.weight"], state["decoder.head.weight"]
        stages = [state[f"decoder.stages.{stage}.blocks.0.conv2.weight"] for stage in range(3)]
    except KeyError as error:
        raise InputError(f"This tiny decoder is incomplete, it has no tensor {error}: get the file again.") from None
    names = [re.match(r"decoder\.stages\.(\d)\.blocks\.\d+\.conv2\.weight", name) for name in state]
    counts = Counter(name.group(1) for name in names if name)
    return TinyDecoderConfig(
        latent_channels=stem.shape[1],
        layout="small",
        widths=(stages[0].shape[0], stages[1].shape[0], stages[2].shape[0], head.shape[1]),
        blocks=(counts["0"], counts["1"], counts["2"]),
    )


def _without_prefix(state: Mapping[str, T]) -> dict[str, T]:
    """Drop a common prefix, such as `vae.` or `first_stage_model.`."""
    for name in state:
        anchor = re.fullmatch(r"(.+\.)encoder\.conv(1|_in)\.weight", name)
        if anchor:
            prefix = anchor.group(1)
            return {name.removeprefix(prefix): value for name, value in state.items()}
    return dict(state)


def _is_wan21(names: Mapping[str, Any]) -> bool:
    if "encoder.downsamples.0.residual.0.gamma" in names or "encoder.down_blocks.0.norm1.gamma" in names:
        return True
    shapes = [getattr(names.get(name), "shape", ()) for name in ("conv2.weight", "post_quant_conv.weight")]
    return (16, 16, 1, 1, 1) in (tuple(shape) for shape in shapes)


def _depth(names: Mapping[str, Any]) -> tuple[int, int]:
    """Stages, and the encoder's residual blocks per stage, from names of either kind."""
    stage = re.compile(r"encoder\.(?:downsamples|down_blocks)\.(\d+)\.")
    block = re.compile(r"encoder\.(?:downsamples\.0\.downsamples|down_blocks\.0\.resnets)\.(\d+)\.(?:residual|norm)")
    stages, blocks = ({found.group(1) for name in names if (found := which.match(name))} for which in (stage, block))
    return len(stages), len(blocks)


def _module_names(stages: int, blocks: int) -> Iterator[tuple[str, str]]:
    """(native, diffusers) name of every module that may have weights."""
    yield "conv1", "quant_conv"
    yield "conv2", "post_quant_conv"
    for half, way, depth in (("encoder", "down", blocks), ("decoder", "up", blocks + 1)):
        yield f"{half}.conv1", f"{half}.conv_in"
        yield f"{half}.head.0", f"{half}.norm_out"
        yield f"{half}.head.2", f"{half}.conv_out"
        yield from _joined(f"{half}.middle.0", f"{half}.mid_block.resnets.0", RESIDUAL_BLOCK)
        yield from _joined(f"{half}.middle.1", f"{half}.mid_block.attentions.0", ATTENTION_BLOCK)
        yield from _joined(f"{half}.middle.2", f"{half}.mid_block.resnets.1", RESIDUAL_BLOCK)
        for stage in range(stages):
            native, theirs = f"{half}.{way}samples.{stage}.{way}samples", f"{half}.{way}_blocks.{stage}"
            for block in range(depth):
                yield from _joined(f"{native}.{block}", f"{theirs}.resnets.{block}", RESIDUAL_BLOCK)
            yield from _joined(f"{native}.{depth}", f"{theirs}.{way}sampler", RESAMPLING)


def _joined(native: str, theirs: str, layers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((f"{native}.{mine}", f"{theirs}.{other}") for mine, other in layers.items())


def _rename(state: Mapping[str, T], modules: Mapping[str, str]) -> dict[str, T]:
    renamed, unknown = {}, []
    for name, value in state.items():
        module, _, parameter = name.rpartition(".")
        if module in modules:
            renamed[f"{modules[module]}.{parameter}"] = value
        else:
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
