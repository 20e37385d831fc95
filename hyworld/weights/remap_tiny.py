"""Tiny decoders' checkpoints (TAEHV): which one a file is, its sizes, and the tensors that are taken from it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from torch import Tensor

from ..config import WAN21_LATENTS_MEAN, WAN21_LATENTS_STD, TinyDecoderConfig, Wan21VAEConfig
from ..errors import InputError

TINY_DECODERS = (
    "the tiny decoders of Wan 2.2 5B are taew2_2 and taew2_2_super, those of Wan 2.1 taew2_1 and lighttaew2_1"
)

OTHER_TINY_DECODERS = {
    24: "taeh3 (MiniMax H3)",
    32: "taehv1_5 (HunyuanVideo 1.5)",
    128: "taeltx (LTX-2)",
}
"""Tiny decoders for other models, by number of latent channels."""

OTHER_TINY_NAMES = {"taehv": "HunyuanVideo", "taecvx": "CogVideoX", "taeos1_3": "Open-Sora"}
"""Those that only their file's name tells from Wan 2.1's, and what they belong to."""

RAW_LATENTS = "lighttae"
"""What a file's name holds if the decoder reads latents as the VAE makes them, not normalised."""

_GROWING = re.compile(r"decoder\.\d+\.conv\.weight")
_TINY_INCOMPLETE = "This tiny decoder is incomplete, it has no tensor {}: get the file again."


def tiny_config_from(
    state: Mapping[str, Tensor], name: str = "", *, raw_latents: bool | None = None
) -> TinyDecoderConfig:
    """Sizes of a TAEHV file (for Wan 2.2 or 2.1) or of the built-in world's; raises `InputError` for anything else.

    name: the file's, which tells decoders of one shape apart.
    raw_latents: whether a decoder for Wan 2.1 reads latents that are not normalised; None: if `RAW_LATENTS` says so.
    """
    if "decoder.stem.weight" in state:
        return _small_config_from(state)
    layout = "super" if "decoder.0.weight" in state else "base"
    stem, head = state.get("decoder.0.weight", state.get("decoder.1.weight")), state.get("decoder.22.weight")
    if stem is None or head is None or "decoder.7.conv.weight" not in state:
        raise InputError(f"This file is not a tiny decoder (TAEHV); {TINY_DECODERS}.")
    file = PurePath(name).stem.lower()
    channels, patch, wan21 = stem.shape[1], math.isqrt(head.shape[0] // 3), stem.shape[1] == Wan21VAEConfig.z_dim
    if channels in OTHER_TINY_DECODERS or patch != (1 if wan21 else 2) or (wan21 and layout == "super"):
        other = OTHER_TINY_DECODERS.get(channels, "a tiny decoder of another model")
        raise InputError(f"This is {other} with {channels} latent channels; {TINY_DECODERS}.")
    if wan21 and file in OTHER_TINY_NAMES:
        raise InputError(f"This is {file}, the tiny decoder of {OTHER_TINY_NAMES[file]}; {TINY_DECODERS}.")
    sizes: dict[str, Any] = {"latent_channels": channels, "layout": layout, "patch": patch}
    if layout == "base":
        try:
            sizes["widths"] = (stem.shape[0], *(state[f"decoder.{i}.weight"].shape[0] for i in (8, 14, 20)))
        except KeyError as error:
            raise InputError(_TINY_INCOMPLETE.format(error)) from None
    if wan21 and (RAW_LATENTS in file if raw_latents is None else raw_latents):
        sizes |= {"latents_mean": WAN21_LATENTS_MEAN, "latents_std": WAN21_LATENTS_STD}
    return TinyDecoderConfig(**sizes)


def _small_config_from(state: Mapping[str, Tensor]) -> TinyDecoderConfig:
    """Sizes of the "small" layout, which has three stages."""
    try:
        stem, head = state["decoder.stem.weight"], state["decoder.head.weight"]
        stages = [state[f"decoder.stages.{stage}.blocks.0.conv2.weight"] for stage in range(3)]
    except KeyError as error:
        raise InputError(_TINY_INCOMPLETE.format(error)) from None
    names = [re.match(r"decoder\.stages\.(\d)\.blocks\.\d+\.conv2\.weight", name) for name in state]
    counts = Counter(name.group(1) for name in names if name)
    return TinyDecoderConfig(
        latent_channels=stem.shape[1],
        layout="small",
        widths=(stages[0].shape[0], stages[1].shape[0], stages[2].shape[0], head.shape[1]),
        blocks=(counts["0"], counts["1"], counts["2"]),
    )


def tiny_to_native(state: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """The tensors of a TAEHV file that a decoder with these shapes takes; an encoder is left out.

    Growing layers may come with rows for frames that are not made: their last rows are for those that are.
    """
    return {
        name: tensor[-shapes[name][0] :] if name in shapes and _GROWING.fullmatch(name) else tensor
        for name, tensor in state.items()
        if not name.startswith("encoder.")
    }
