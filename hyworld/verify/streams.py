"""Streaming Wan networks chunk by chunk, on given latents: the `stream_*` files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..config import PATCH
from ..dit import Inputs, RollingMemory, TextKV, WanDiT
from ..weights import load_dit
from .report import Item, compare


@dataclass(frozen=True)
class _Branch:
    """A prompt and the memory of what was made under it; the flow it gives."""

    model: WanDiT
    memory: RollingMemory
    text_kv: TextKV
    image_kv: TextKV | None

    def flow(self, latents: Tensor, timestep: Tensor) -> Tensor:
        flow = self.model(Inputs(latents, timestep, self.text_kv, self.memory, image_kv=self.image_kv))
        assert flow is not None
        return flow

    def cache(self, layer: int) -> dict[str, Tensor]:
        """Keys and values of a block as the files hold them, `[1, tokens, heads, d]`."""
        k, v = self.memory.read(layer)
        if self.memory.rotated:
            return {"k": k.transpose(1, 2), "v": v.transpose(1, 2)}
        attention: Any = self.model.get_submodule(f"blocks.{layer}.self_attn")
        k = attention.norm_k(k)
        heads = (self.model.config.num_heads, self.model.config.head_dim)
        return {"k": k.flatten(1, 2).unflatten(-1, heads), "v": v.flatten(1, 2).unflatten(-1, heads)}


@dataclass(frozen=True)
class _Image:
    """How the first picture gets into the network's input; `mask` is 1 on the very first latent."""

    latent: Tensor
    stamped: bool
    own_timestep: bool

    def into(self, x: Tensor, first: bool) -> Tensor:
        mask = torch.zeros_like(x)
        mask[:, :, : int(first)] = 1
        if self.stamped:
            return (1 - mask) * x + mask * self.latent
        image = self.latent if first else torch.zeros_like(self.latent)
        return torch.cat((x, mask[:, :4], image), dim=1)

    def timestep(self, timestep: Tensor, first: bool) -> Tensor:
        if first and self.own_timestep:
            timestep[:, 0] = 0
        return timestep


def check_stream(weights: Path, file: Path, device: torch.device, dtype: torch.dtype, tol: float) -> Iterator[Item]:
    """Every flow of the stream, and the memory after the first and the last chunk, on both branches of guidance."""
    with safe_open(file, "pt") as opened:
        config = json.loads(opened.metadata()["config"])
    stream = config["stream"]
    data = {name: tensor.to(device) for name, tensor in load_file(file).items()}
    model = load_dit(weights, device=device, dtype=dtype)
    image_kv = model.image_keys_values(data["clip"].to(dtype)) if "clip" in data else None
    _, _, chunk, h, w = data["chunk0.clean"].shape

    def branch(text: Tensor) -> _Branch:
        memory = RollingMemory(
            model.config,
            window=stream["window_size_t"],
            sink=stream.get("sink_size_t", 0),
            chunk=stream["len_t"],
            tokens_per_frame=h * w // PATCH**2,
            rotated=config["network"].get("apply_rope_before_kvcache", True),
            device=device,
            dtype=dtype,
        )
        return _Branch(model, memory, model.text_keys_values(text.to(dtype)), image_kv)

    scale = stream.get("guidance_scale", 1.0)
    branches = {"": branch(data["text"])}
    if "negative_text" in data and scale != 1.0:
        branches["uncond."] = branch(data["negative_text"])
    image = None
    if "image_latent" in data:
        stamped = bool(stream.get("stamp_image_latent"))
        own = bool(stream.get("ti2v_first_frame_per_token_timestep"))
        image = _Image(data["image_latent"], stamped, own)

    for i in range(config["chunks"]):
        for each in branches.values():
            each.memory.begin()

        def flows(x: Tensor, t: float, first: bool = i == 0) -> list[Tensor]:
            timestep = torch.full((1, chunk), float(t), device=device)
            if image is not None:
                x, timestep = image.into(x, first), image.timestep(timestep, first)
            return [each.flow(x.to(dtype), timestep).float() for each in branches.values()]

        for j, t in enumerate(config["timesteps"]):
            flow, *negative = flows(data[f"chunk{i}.noisy{j}"], t)
            for uncond in negative:
                flow = uncond + scale * (flow - uncond)
            yield compare(f"{file.stem}.chunk{i}.flow{j}", flow, data[f"chunk{i}.flow{j}"], tol)
        flows(data[f"chunk{i}.clean"], config["context_timestep"])
        for prefix, each in branches.items():
            each.memory.commit()
            for layer in range(model.config.num_layers):
                for kind, tensor in each.cache(layer).items():
                    name = f"{prefix}cache.chunk{i}.block{layer}.{kind}"
                    if name in data:
                        yield compare(f"{file.stem}.{name}", tensor, data[name], tol)
