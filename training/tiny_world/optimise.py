"""AdamW on float32 weights, scheduled by time, with checkpoints in files of at most 15 MB.

A checkpoint keeps weights and their mean in float16 (precision 2^-11) and Adam's second moment in 8 bits (6 %). Adam's
first moment is lost; it recovers in some 20 steps.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

SHARD_BYTES = 15_000_000

LOG2_STEP = 0.25
"""Resolution of a stored second moment in octaves; 255 steps reach from 1 down to 2^-64."""


class Clock:
    """Minutes used of this call's `minutes` and of all calls' `total`; `used` by earlier calls."""

    def __init__(self, minutes: float, total: float, used: float = 0.0) -> None:
        self._begun = time.monotonic()
        self._before, self._minutes, self.total = used, minutes, max(total, 1e-9)

    @property
    def minutes(self) -> float:
        """Minutes used by this call."""
        return (time.monotonic() - self._begun) / 60

    @property
    def used(self) -> float:
        """Minutes used by all calls."""
        return self._before + self.minutes

    @property
    def over(self) -> bool:
        return self.minutes >= self._minutes

    @property
    def progress(self) -> float:
        """0 at the start of the first call, 1 at the end of the last."""
        return min(1.0, self.used / self.total)


def rate(step: int, progress: float, *, warm_up: int) -> float:
    """Factor of the learning rate: linear warm-up, then a cosine down to 2 %."""
    return min(1.0, (step + 1) / warm_up) * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * progress)))


class Optimiser:
    """AdamW over float32 copies of a network's weights, and their exponential moving average."""

    def __init__(
        self,
        network: nn.Module,
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 0.01,
        warm_up: int = 200,
        ema: float = 0.999,
    ) -> None:
        self.network, self.lr, self.warm_up, self._ema_decay = network, lr, warm_up, ema
        named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in named]
        self._computing: list[Tensor] = [parameter for _, parameter in named]
        self.master = [parameter.detach().float().clone() for parameter in self._computing]
        self.ema = [weights.clone() for weights in self.master]
        self.step_count = 0
        self._since_start = 0
        matrices = [w for name, w in zip(self.names, self.master, strict=True) if _decays(name, w)]
        others = [w for name, w in zip(self.names, self.master, strict=True) if not _decays(name, w)]
        self.adam = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=lr,
            betas=betas,
            fused=self.master[0].is_cuda,
        )

    def step(self, progress: float, *, clip: float = 1.0) -> Tensor:
        """Apply and clear the network's gradients; returns their norm as a tensor (reading it waits for the GPU)."""
        for weights, parameter in zip(self.master, self._computing, strict=True):
            weights.grad = None if parameter.grad is None else parameter.grad.float()
            parameter.grad = None
        norm = torch.nn.utils.clip_grad_norm_(self.master, clip)
        for group in self.adam.param_groups:
            group["lr"] = self.lr * rate(self._since_start, progress, warm_up=self.warm_up)
        self.adam.step()
        self.step_count += 1
        self._since_start += 1
        decay = min(self._ema_decay, (1 + self.step_count) / (10 + self.step_count))
        with torch.no_grad():
            torch._foreach_copy_(self._computing, self.master)
            torch._foreach_lerp_(self.ema, self.master, 1 - decay)
        return norm

    def averaged(self) -> dict[str, Tensor]:
        """The weights' moving average, float32, by name."""
        return dict(zip(self.names, self.ema, strict=True))

    def save(self, folder: Path, name: str, **about: Any) -> None:
        """Write `name`-I-of-N.safetensors into `folder`, with `about` in their metadata."""
        tensors: dict[str, Tensor] = {}
        for key, weights, mean in zip(self.names, self.master, self.ema, strict=True):
            tensors[f"weights.{key}"] = weights.half()
            tensors[f"ema.{key}"] = mean.half()
            moment = self.adam.state.get(weights, {}).get("exp_avg_sq")
            if moment is not None:
                tensors[f"moment.{key}"] = _to_octaves(moment)
        save_shards(tensors, folder, name, {"step": self.step_count, **about})

    def restore(self, folder: Path, name: str) -> dict[str, Any] | None:
        """Continue from what `save` wrote; returns its `about` and `step`, or None if there is nothing."""
        loaded = load_shards(folder, name)
        if loaded is None:
            return None
        tensors, about = loaded
        self.step_count = about["step"]
        with torch.no_grad():
            for key, weights, mean in zip(self.names, self.master, self.ema, strict=True):
                weights.copy_(tensors[f"weights.{key}"])
                mean.copy_(tensors[f"ema.{key}"])
                if f"moment.{key}" in tensors:
                    step = torch.tensor(float(self.step_count), device=weights.device if weights.is_cuda else "cpu")
                    moment = _from_octaves(tensors[f"moment.{key}"])
                    self.adam.state[weights] = {
                        "step": step,
                        "exp_avg": torch.zeros_like(weights),
                        # The fused AdamW asks for the weights' strides, which may be channels last.
                        "exp_avg_sq": torch.zeros_like(weights).copy_(moment),
                    }
            torch._foreach_copy_(self._computing, self.master)
        return about


def _decays(name: str, weights: Tensor) -> bool:
    return weights.ndim > 1 and not name.endswith(("modulation", "gamma"))


def _to_octaves(moment: Tensor) -> Tensor:
    return (-moment.clamp(2.0**-63, 1.0).log2() / LOG2_STEP).round().to(torch.uint8)


def _from_octaves(stored: Tensor) -> Tensor:
    return torch.exp2(-stored.float() * LOG2_STEP)


def save_shards(tensors: dict[str, Tensor], folder: Path, name: str, about: dict[str, Any]) -> None:
    """Write tensors as `name`-I-of-N.safetensors of at most 15 MB each; removes shards of another N."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for key, tensor in tensors.items():
        size += tensor.nbytes
        if size > SHARD_BYTES:
            shards.append({})
            size = tensor.nbytes
        shards[-1][key] = tensor.detach().cpu().contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    written = set()
    for i, shard in enumerate(shards):
        path = folder / f"{name}-{i + 1}-of-{len(shards)}.safetensors"
        part = path.with_suffix(".part")
        save_file(shard, part, {"about": json.dumps(about)})
        os.replace(part, path)
        written.add(path)
    for path in folder.glob(f"{name}-*-of-*.safetensors"):
        if path not in written:
            path.unlink()


def load_shards(folder: Path, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What `save_shards` wrote, or None; raises `FileNotFoundError` if shards are missing or of different runs."""
    paths = sorted(folder.glob(f"{name}-*-of-*.safetensors"))
    if not paths:
        return None
    tensors: dict[str, Tensor] = {}
    abouts = []
    for path in paths:
        with safe_open(path, "pt") as file:
            abouts.append(json.loads(file.metadata()["about"]))
            tensors |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (a safetensors handle)
    expected = int(paths[0].stem.rsplit("-", 1)[1])
    if len(paths) != expected or any(about != abouts[0] for about in abouts):
        raise FileNotFoundError(f"{folder}/{name}-*: {len(paths)} of {expected} files, or files of different runs")
    return tensors, abouts[0]
