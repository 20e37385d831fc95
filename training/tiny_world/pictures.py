"""Contact sheets."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor


def save_sheet(frames: Tensor, path: Path) -> None:
    """Write frames `[rows, 3, columns, H, W]` in [-1, 1] as one picture."""
    levels = frames.float().mul(127.5).add(127.5).round().clamp(0, 255).to(torch.uint8)
    sheet = levels.permute(0, 3, 2, 4, 1).flatten(2, 3).flatten(0, 1).cpu().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path)
