"""Conversion to and from ComfyUI's IMAGE (float `[F, H, W, 3]` in 0..1)."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor


def to_picture(frame: Tensor) -> Image.Image:
    """One frame `[H, W, 3 or 4]` in 0..1 → a picture without alpha."""
    pixels = (frame[..., :3].float() * 255).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(pixels.cpu().numpy())


def to_image(video: Tensor) -> Tensor:
    """Video `[3, F, H, W]` in [-1, 1] → IMAGE."""
    return (video.float().movedim(0, -1) / 2 + 0.5).clamp(0, 1)


def frames_to_image(frames: Tensor) -> Tensor:
    """Frames uint8 `[F, H, W, 3]` → IMAGE."""
    return frames.float() / 255


def picture_to_image(picture: Image.Image) -> Tensor:
    """A picture → IMAGE of one frame."""
    pixels = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8)
    return frames_to_image(pixels.view(1, picture.height, picture.width, 3))
