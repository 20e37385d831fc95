"""CLIP tokens of the first picture outside ComfyUI, for Wan 2.1's image-to-video models.

Source: Wan 2.1 `wan/modules/clip.py` (XLM-RoBERTa ViT-H/14; the tokens before the last layer).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import InputError

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's training pictures, per colour in 0..1."""


def clip_vision(
    folder: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.bfloat16
) -> Callable[[Tensor], Tensor]:
    """Picture `[1, 3, 1, H, W]` in [-1, 1] → tokens `[1, 257, 1280]` of the released model.

    The encoder is loaded for each picture and freed after it.

    folder: diffusers layout with `image_encoder/`, or that folder itself.

    Raises `InputError`, now or when called, if transformers is not installed or the folder cannot be read.
    """
    root = Path(folder)
    root = root / "image_encoder" if (root / "image_encoder").is_dir() else root
    if not (root / "config.json").is_file():
        raise InputError(f"There is no CLIP vision model in {folder}: give a folder with image_encoder/config.json.")

    @torch.no_grad()
    def encode(picture: Tensor) -> Tensor:
        try:
            from transformers import CLIPVisionModel
        except ImportError as error:
            raise InputError(
                "The CLIP vision model needs the package transformers: pip install transformers."
            ) from error
        try:
            model: Any = CLIPVisionModel.from_pretrained(root, torch_dtype=dtype)
            model = model.to(device).eval()
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"The CLIP vision model in {folder} cannot be read: {error}") from error
        side = model.config.image_size
        pixels = F.interpolate(picture[:, :, 0].float(), (side, side), mode="bicubic", align_corners=False)
        mean, std = (torch.tensor(numbers).view(1, 3, 1, 1) for numbers in (MEAN, STD))
        pixels = ((pixels / 2 + 0.5) - mean) / std
        return model(pixels.to(device, dtype), output_hidden_states=True).hidden_states[-2].cpu()

    return encode
