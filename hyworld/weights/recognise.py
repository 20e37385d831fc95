"""Recognise a Wan transformer, its variant and sizes, or say what a checkpoint is instead, by names and shapes alone.

Expects native names (`remap.dit_to_native`) without fp8 scales (`fp8.split_scales`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

from torch import Tensor, nn

from ..config import PATCH, DiTConfig
from ..dit import WanDiT
from ..errors import InputError

_CAMERA_PARTS = ("action_embedding.", ".self_attn.o_prope.")
_CAMERA_BRANCH_Q = ".cam_self_attn.q_proj.weight"
"""In DreamX-World's camera branch; its rows are the branch's width."""
_SISTER = r"5b[-_ .]?cam(?![a-z])"
_CAUSAL_CLASS = "CausalWanModel"
"""The class that the released config.json of the autoregressive model names."""

_WAN_HEAD_DIM = 128
_SMALLEST_WAN_WIDTH = 1536
_WAN21_CHANNELS = 16
_IMAGE_CHANNELS = 20
"""Of Wan's image-to-video models: 4 of a mask, 16 of the picture's latent."""
_KNOWN = "HY-WorldPlay's WAN-5B, DreamX-World-5B, or a text-to-video or image-to-video model of Wan 2.1 or 2.2"

_VAE = r"^(en|de)coder\.(conv1|conv_in|head|down_blocks|mid_block)\."

# LoRAs first: their names contain those of the model they are for.
_OTHER_MODELS = (
    (r"lora_(A|B|down|up)\b|\.lora\.", "is a LoRA: load the model it was made for and apply it on top"),
    (_VAE, "is a VAE: give it where a VAE is asked for, and the transformer here"),
    (
        r"^(shared\.weight|token_embedding\.weight|encoder\.(block\.0|embed_tokens)\.|blocks\.0\.attn\.q\.)",
        "is a text encoder: give it where a text encoder is asked for, and the transformer here",
    ),
    (
        r"^decoder\.(\d+|stem)\.",
        "is a tiny decoder (TAEHV): give it where a tiny decoder is asked for, and the transformer here",
    ),
    (
        r"^(double_blocks|single_blocks|transformer_blocks|joint_blocks)\.0\.",
        f"is another family's transformer, such as HunyuanVideo: give {_KNOWN}",
    ),
    (r"^vace_", f"is a Wan VACE model: give {_KNOWN}"),
    (r"^img_emb\.emb_pos", f"is a Wan model between a first and a last picture: give {_KNOWN}"),
    (
        r"^(control_adapter|ref_conv|casual_audio_encoder|face_adapter|pose_patch_embedding)\.",
        f"is a Wan model steered by something else (poses, a face, speech): give {_KNOWN}",
    ),
)

_TELL_THE_SIZES = (
    "patch_embedding.weight",
    "text_embedding.0.weight",
    "time_embedding.0.weight",
    "blocks.0.ffn.0.weight",
    "head.head.weight",
)


@lru_cache(maxsize=4)  # a conversion asks a hundred times
def dit_shapes(config: DiTConfig) -> Mapping[str, tuple[int, ...]]:
    """Native name and shape of each of the transformer's tensors: 889 for WAN-5B."""
    return MappingProxyType(shapes_of(WanDiT(config, device="meta")))


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def is_vae(names: Iterable[str]) -> bool:
    """Whether these cleaned names are a VAE's, native or diffusers-style."""
    return any(re.search(_VAE, name) for name in names)


def is_camera_tensor(name: str) -> bool:
    """Whether WorldPlay adds this tensor to Wan 2.2 TI2V-5B: 64 of 889, for action and camera."""
    return any(part in name for part in _CAMERA_PARTS)


def is_base(config: DiTConfig) -> bool:
    """Whether this is what WorldPlay was trained from: a Wan 2.2 TI2V-5B, without the camera tensors."""
    return not config.cameras and config.image_channels == 0 and config.latent_channels != _WAN21_CHANNELS


class UnknownHeadSizeError(InputError):
    """A small model whose file does not say how many channels an attention head has."""


def dit_config_from(
    state: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    *,
    head_dim: int | None = None,
    name: str = "The checkpoint",
) -> DiTConfig:
    """Variant and sizes of the transformer from names and shapes; `name` is what an error calls the checkpoint.

    No shape gives the head size. It is `head_dim`, else from the JSON under `metadata["config"]` (`hd` or `heads`, or
    diffusers' or Wan's names for them), else 128 for models as wide as the released ones.
    Raises `InputError` for another or an incomplete model, or a head size that is unknown or does not fit.
    """
    refuse_other_models(state, name)
    width, channels_in = state["patch_embedding.weight"].shape[:2]
    channels = _channels_out(state)
    clip = state.get("img_emb.proj.0.weight")
    branch = next((tensor for key, tensor in state.items() if key.endswith(_CAMERA_BRANCH_Q)), None)
    if branch is not None:
        _refuse_sister(metadata, name)
    head_dim = head_dim or _stated_head_dim(metadata, width)
    if head_dim is None and width >= _SMALLEST_WAN_WIDTH and width % _WAN_HEAD_DIM == 0:
        head_dim = _WAN_HEAD_DIM
    if head_dim is None:
        raise UnknownHeadSizeError(
            f"{name} does not say how its width of {width} divides into heads: give head_dim (--head-dim), or a "
            f'safetensors file whose metadata has a config with "hd".'
        )
    if width % head_dim:
        raise InputError(f"{name} has width {width}, which does not divide into heads of {head_dim}: correct head_dim.")
    return DiTConfig(
        num_heads=width // head_dim,
        head_dim=head_dim,
        num_layers=1 + max(int(key.split(".")[1]) for key in state if re.match(r"blocks\.\d+\.", key)),
        ffn_dim=state["blocks.0.ffn.0.weight"].shape[0],
        latent_channels=channels,
        text_dim=state["text_embedding.0.weight"].shape[1],
        freq_dim=state["time_embedding.0.weight"].shape[1],
        cameras=branch is not None or any(map(is_camera_tensor, state)),
        image_channels=channels_in - channels,
        clip_dim=0 if clip is None else clip.shape[0],
        camera_width=0 if branch is None else branch.shape[0],
    )


def _refuse_sister(metadata: Mapping[str, str], name: str) -> None:
    """Raise `InputError` for DreamX-World-5B-Cam, whose tensors have the same names and shapes."""
    made_by = _stated(metadata).get("_class_name", _CAUSAL_CLASS)
    if re.search(_SISTER, name, re.IGNORECASE) or made_by != _CAUSAL_CLASS:
        what = "by its name" if made_by == _CAUSAL_CLASS else f"by its config.json ({made_by})"
        raise InputError(
            f"{name} is {what} DreamX-World-5B-Cam, the bidirectional model, which makes one clip: "
            "give DreamX-World-5B, the autoregressive one, or another name to a file that is that."
        )


def check_dit(state: Mapping[str, Tensor], config: DiTConfig, *, name: str = "The checkpoint") -> None:
    """Raise `InputError` unless `state` is all tensors of the transformer, in their shapes."""
    refuse_other_models(state, name)
    network = "the WorldPlay transformer" if config.cameras else "the Wan transformer"
    if config.camera_width:
        network = "the DreamX-World transformer"
    refuse_misfit(state, dit_shapes(config), name, network)


def refuse_misfit(
    state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], name: str, network: str
) -> None:
    """Raise `InputError` listing what is missing, unexpected, of another shape, or not floating point."""
    integers = [f"{key} is {tensor.dtype}" for key, tensor in state.items() if not tensor.is_floating_point()]
    if integers:
        raise InputError(
            f"{name} is quantised in a way that is not supported ({_some(integers)}): "
            f"give bf16, fp16, fp32 or scaled fp8."
        )
    faults = {
        "missing": [key for key in expected if key not in state],
        "unexpected": [key for key in state if key not in expected],
        "of another shape": [
            f"{key} is {list(state[key].shape)} instead of {list(shape)}"
            for key, shape in expected.items()
            if key in state and tuple(state[key].shape) != shape
        ],
    }
    if any(faults.values()):
        listed = "; ".join(f"{len(keys)} {fault} ({_some(keys)})" for fault, keys in faults.items() if keys)
        raise InputError(
            f"{name} does not fit {network} of {len(expected)} tensors: {listed}; "
            f"give the complete checkpoint (the folder, if this is one of several shards)."
        )


def refuse_other_models(state: Mapping[str, Tensor], name: str) -> None:
    """Raise `InputError` saying what it is, unless the tensors are of a Wan transformer that this program knows."""
    for pattern, verdict in _OTHER_MODELS:
        if any(re.search(pattern, key) for key in state):
            raise InputError(f"{name} {verdict}.")
    if not any(re.match(r"patch_embedding\.|blocks\.\d+\.self_attn\.", key) for key in state):
        raise InputError(f"{name} is not a model this program knows (it holds {_some(sorted(state))}): give {_KNOWN}.")
    absent = [key for key in _TELL_THE_SIZES if key not in state]
    if absent:
        raise InputError(
            f"{name} is an incomplete transformer, without {_some(absent)}: give the complete checkpoint "
            f"(the folder, if this is one of several shards)."
        )
    channels_in, channels_out = state["patch_embedding.weight"].shape[1], _channels_out(state)
    if channels_in - channels_out not in (0, _IMAGE_CHANNELS):
        raise InputError(
            f"{name} is another Wan model, such as a control model ({channels_in} channels in, {channels_out} out): "
            f"give {_KNOWN}."
        )


def _channels_out(state: Mapping[str, Tensor]) -> int:
    return state["head.head.weight"].shape[0] // (PATCH * PATCH)


def _stated(metadata: Mapping[str, str]) -> dict[str, object]:
    try:
        config = json.loads(metadata.get("config", ""))
    except ValueError:
        return {}
    return config if isinstance(config, dict) else {}


def _stated_head_dim(metadata: Mapping[str, str], width: int) -> int | None:
    config = _stated(metadata)
    size = _first_whole(config, ("hd", "attention_head_dim"))
    heads = _first_whole(config, ("heads", "num_heads", "num_attention_heads"))
    return size or (width // heads if heads else None)


def _first_whole(config: Mapping[str, object], keys: Iterable[str]) -> int | None:
    values = (config.get(key) for key in keys)
    return next((value for value in values if isinstance(value, int) and value > 0), None)


def _some(items: Sequence[str]) -> str:
    return ", ".join(items[:3]) + (", …" if len(items) > 3 else "")
