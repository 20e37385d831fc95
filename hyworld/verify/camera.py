"""Camera: trajectories.json, memory_selection.{json,safetensors}, prope.safetensors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file

from ..camera import Trajectory
from ..config import MemoryConfig
from ..dit import sdpa
from ..dit.prope import apply_projection, camera_projections
from ..memory import select_memory_frames
from .report import CAMERA_TOLERANCE, Item, compare, compare_exactly


def check_trajectories(file: Path) -> Iterator[Item]:
    """Pose strings → poses, world-to-camera matrices, normalised intrinsics and labels."""
    for i, entry in enumerate(json.loads(file.read_text())):
        path = Trajectory.from_tokens(entry["pose"])
        name = f"trajectory.{i}"
        yield compare(f"{name}.c2w", path.c2w, torch.tensor(entry["c2w"], dtype=torch.float64), CAMERA_TOLERANCE)
        yield compare(
            f"{name}.viewmats", path.viewmats, torch.tensor(entry["viewmats"], dtype=torch.float64), CAMERA_TOLERANCE
        )
        yield compare(f"{name}.Ks", path.intrinsics, torch.tensor(entry["Ks"], dtype=torch.float64), CAMERA_TOLERANCE)
        yield compare_exactly(f"{name}.action", torch.tensor(path.labels), entry["action"])


def check_memory_selection(listing: Path, tensors: Path) -> Iterator[Item]:
    """Which frames are remembered on long paths, with the reference's own point cloud."""
    data = load_file(tensors)
    for entry in json.loads(listing.read_text()):
        viewmats = data[f"viewmats.{entry['i']}"]
        chosen = [
            list(select_memory_frames(viewmats, current, data["points"], MemoryConfig()))
            for current, _ in entry["selected"]
        ]
        wanted = [frames or [] for _, frames in entry["selected"]]
        yield compare_exactly(f"memory_selection.{entry['i']}", chosen, wanted)


def check_prope(file: Path, device: torch.device, dtype: torch.dtype, tolerance: float) -> Iterator[Item]:
    """The projective transforms of q, k, v and the attention output."""
    data = {name: tensor.to(device) for name, tensor in load_file(file).items()}
    cameras = camera_projections(data["viewmats"], data["Ks"])
    frames = cameras.out.shape[1]

    def by_frame(x: torch.Tensor) -> torch.Tensor:
        """[B, heads, N, D] → [B, F, S, heads, D]"""
        return x.to(dtype).transpose(1, 2).unflatten(1, (frames, -1))

    def by_head(x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1, 2).transpose(1, 2)

    q = by_head(apply_projection(by_frame(data["q"]), cameras.q))
    k = by_head(apply_projection(by_frame(data["k"]), cameras.kv))
    v = by_head(apply_projection(by_frame(data["v"]), cameras.kv))
    out = by_head(apply_projection(by_frame(sdpa(q, k, v)), cameras.out))
    for name, got in (("q_prope", q), ("k_prope", k), ("v_prope", v), ("out", out)):
        yield compare(f"prope.{name}", got, data[name], tolerance)
