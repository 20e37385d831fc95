"""A short animation that a node goes on showing after it has run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_paths
from PIL import Image
from torch import Tensor

from ...hyworld.config import FRAMES_PER_SECOND

SIDE = 512
"""Longest side in pixels."""


def played_once(frames: Tensor) -> dict[str, Any]:
    """Node `ui` that plays uint8 frames `[F, H, W, 3]` once and stays on the last one."""
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
        "hyworld_preview", folder_paths.get_temp_directory()
    )
    file = f"{name}_{counter:05}_.webp"
    pictures = [Image.fromarray(frame.numpy()) for frame in frames]
    for picture in pictures:
        picture.thumbnail((SIDE, SIDE))
    first, *others = pictures
    # method 0: a tenth of the time of the default, which is part of the node's
    options = {"duration": round(1000 / FRAMES_PER_SECOND), "loop": 1, "quality": 80, "method": 0}
    first.save(Path(folder) / file, save_all=True, append_images=others, **options)
    return {"images": [{"filename": file, "subfolder": subfolder, "type": "temp"}], "animated": (True,)}
