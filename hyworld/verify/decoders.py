"""Decoders: the Wan VAEs in both directions and the tiny decoders, whole and streaming."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..config import TinyDecoderConfig
from ..vae import StreamingDecoder, TinyDecoder, make_vae
from ..weights import read_checkpoint, vae_config_from, vae_to_diffusers, vae_to_native
from ..weights.recognise import shapes_of
from ..weights.remap_tiny import tiny_config_from, tiny_to_native
from .report import Item, compare, compare_exactly

_NUMBER = r"([\d.]+(?:e-?\d+)?)"
_RULE = re.compile(rf"manual_seed\((\d+) ?\+ ?i\).*?\({_NUMBER} ?/ ?sqrt.*else {_NUMBER}\)")
_SCALED = re.compile(rf"(decoder\.[\w.]+) \*= {_NUMBER}")
_SET = re.compile(rf"(decoder\.[\w.]+) = {_NUMBER}")


def check_vae(weights: Path, file: Path, device: torch.device, dtype: torch.dtype, tol: float) -> Iterator[Item]:
    """Names of both layouts; encoding and decoding, whole and piece by piece."""
    yield from _check_vae("vae", weights, file, device, dtype, tol)


def check_vae_wan21(weights: Path, file: Path, device: torch.device, dtype: torch.dtype, tol: float) -> Iterator[Item]:
    """As `check_vae`, for the VAE of Wan 2.1."""
    yield from _check_vae("vae_wan21", weights, file, device, dtype, tol)


def _check_vae(
    name: str, weights: Path, file: Path, device: torch.device, dtype: torch.dtype, tol: float
) -> Iterator[Item]:
    checkpoint = read_checkpoint(weights)
    native = vae_to_native(checkpoint.state)
    back = vae_to_native(vae_to_diffusers(native))
    same = back.keys() == native.keys() and all(torch.equal(back[key], native[key]) for key in native)
    yield Item(f"{name}.layouts", passed=same, relative=0.0 if same else 1.0, note=f"{len(native)} tensors")

    data = {key: tensor.to(device) for key, tensor in load_file(file).items()}
    config = replace(
        vae_config_from(native, checkpoint.metadata),
        latents_mean=tuple(data["latent_mean"].tolist()),
        latents_std=tuple(data["latent_std"].tolist()),
    )
    vae = make_vae(config, device="meta")
    vae.load_state_dict(native, strict=True, assign=True)
    vae = vae.to(device, dtype).eval()

    video, latents = data["video"].to(dtype), data["latents"].to(dtype)
    yield compare(f"{name}.encode.whole", vae.encode_stream(video)[0], data["encoded"], tol)
    yield compare(f"{name}.encode.streamed", vae.encode(video), data["encoded"], tol)
    yield compare(f"{name}.encode.first_frame", vae.encode(video[:, :, :1]), data["encoded_first_frame"], tol)
    yield compare(f"{name}.decode.whole", vae.decode_stream(latents)[0], data["decoded"], tol)
    for size in (1, 2, 4):
        yield compare(f"{name}.decode.by_{size}", decode_by(vae, latents, size), data["decoded"], tol)


def check_tiny_decoder(file: Path, device: torch.device, dtype: torch.dtype, tol: float) -> Iterator[Item]:
    """TAEHV with weights drawn by the rule in the file's metadata."""
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    state = _weights_by_rule(json.loads(metadata["state_dict"]), metadata["rule"])
    data = load_file(file)
    # Not `tiny_config_from`, which takes the channel counts of other published decoders for those decoders.
    layout = "super" if "decoder.0.weight" in state else "base"
    decoder = TinyDecoder(TinyDecoderConfig(data["latents"].shape[2], layout), device="meta")
    wanted = {name: tensor for name, tensor in state.items() if name.startswith("decoder.")}
    decoder.load_state_dict(wanted, strict=True, assign=True)
    decoder = decoder.to(device, dtype).eval()

    latents = data["latents"].to(device, dtype).transpose(1, 2)
    frames = data["frames"].transpose(1, 2)  # the reference is in [0, 1]
    yield compare("tiny_decoder.whole", decoder.decode_stream(latents)[0] / 2 + 0.5, frames, tol)
    for size in (1, 2, 4):
        yield compare(f"tiny_decoder.by_{size}", decode_by(decoder, latents, size) / 2 + 0.5, frames, tol)
    if "frames_per_latent" in metadata:
        counts = [piece.shape[2] for piece in pieces_by(decoder, latents, 1)]
        yield compare_exactly("tiny_decoder.frames_per_latent", counts, json.loads(metadata["frames_per_latent"]))


def check_lighttae(file: Path, device: torch.device, dtype: torch.dtype, tol: float) -> Iterator[Item]:
    """The tiny decoder of Wan 2.1 for latents that are not normalised, with weights from the file."""
    weights = "weights."
    data = load_file(file)
    state = {key.removeprefix(weights): tensor for key, tensor in data.items() if key.startswith(weights)}
    yield from _check_lighttae("lighttae", state, data, device, dtype, tol)


def check_lighttae_full_size(file: Path, device: torch.device, dtype: torch.dtype, tol: float) -> Iterator[Item]:
    """As `check_lighttae`, of the released sizes, with weights drawn by the rule in the file's metadata."""
    with safe_open(file, "pt") as opened:
        config = json.loads(opened.metadata()["config"])
    state = _weights_by_rule(config["state_dict"], config["rule"])
    yield from _check_lighttae("lighttae_full_size", state, load_file(file), device, dtype, tol)


def _check_lighttae(
    name: str,
    state: dict[str, Tensor],
    data: dict[str, Tensor],
    device: torch.device,
    dtype: torch.dtype,
    tol: float,
) -> Iterator[Item]:
    decoder = TinyDecoder(tiny_config_from(state, raw_latents=True), device="meta")
    decoder.load_state_dict(tiny_to_native(state, shapes_of(decoder)), strict=True, assign=True)
    decoder = decoder.to(device, dtype).eval()
    latents = data["latents"].to(device, dtype)
    yield compare(f"{name}.whole", decoder.decode_stream(latents)[0], data["frames"], tol)
    for size in (1, 2, 3):
        yield compare(f"{name}.by_{size}", decode_by(decoder, latents, size), data["frames"], tol)


def pieces_by(decoder: StreamingDecoder, latents: Tensor, size: int) -> Iterator[Tensor]:
    """Decode `latents` `[B, C, n, h, w]`, `size` at a time."""
    cache = None
    for part in latents.split(size, dim=2):
        frames, cache = decoder.decode_stream(part, cache)
        yield frames


def decode_by(decoder: StreamingDecoder, latents: Tensor, size: int) -> Tensor:
    """The frames of `pieces_by`, joined."""
    return torch.cat(list(pieces_by(decoder, latents, size)), dim=2)


def _weights_by_rule(shapes: list[tuple[str, list[int]]], rule: str) -> dict[str, Tensor]:
    """Weights by the file's rule: seed + i for the i-th key, gain / sqrt(fan-in) for kernels, a constant scale else.

    The rule may go on to scale or set single ones.
    """
    read = _RULE.search(rule)
    if read is None:
        raise ValueError(f"the rule for drawing the weights is not of the known form: {rule}")
    seed, gain, vector = read.groups()
    state = {}
    for i, (name, shape) in enumerate(sorted(shapes)):
        scale = float(gain) / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else float(vector)
        state[name] = torch.randn(shape, generator=torch.Generator().manual_seed(int(seed) + i)) * scale
    for name, factor in _SCALED.findall(rule):
        state[name] *= float(factor)
    for name, value in _SET.findall(rule):
        state[name].fill_(float(value))
    return state
