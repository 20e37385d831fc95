"""The first frame: any picture file Pillow reads → the tensor the VAE encodes."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from .config import VAE_SPATIAL_STRIDE, check_size, pixel_multiple
from .errors import InputError

CropChoice = Literal["center", "top", "bottom", "left", "right"]
"""The part of a picture that is kept where it is larger than the frame."""

CROPS: tuple[CropChoice, ...] = get_args(CropChoice)

LONGEST_SIDE = 4096
"""Pixels; of a size that is chosen by a picture's shape."""

MOST_FILLED = 200
"""Largest area of a picture scaled to fill a frame, in frames."""


def open_picture(path: str | Path) -> Image.Image:
    """Read a picture as RGB, upright (EXIF); raises `InputError` if it is missing, no picture, truncated or huge."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of the picture in it.")
    if not path.is_file():
        raise InputError(f"There is no picture at {path}: check the name given as the first frame.")
    try:
        with Image.open(path) as picture:
            return _to_rgb(ImageOps.exif_transpose(picture))
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not a picture that can be read: give a PNG, JPEG or WebP file.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"The picture {path} cannot be read ({error}): save it again as PNG or JPEG of an ordinary size."
        ) from error


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith(("I", "F")):
        # Pillow clips greys of more than 8 bits at 255 instead of scaling them.
        levels = np.asarray(picture).astype(np.float64) * (255 / _white(picture))
        return Image.fromarray(levels.clip(0, 255).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        # Transparent pixels hold arbitrary colours: show them on white, as viewers do.
        rgba = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return picture.convert("RGB")


def _white(picture: Image.Image) -> float:
    """White level of a grey picture of mode I;16, I or F; guessed for 32-bit files, which do not say."""
    if picture.mode.startswith("I;16"):
        return 65535
    brightest = float(np.asarray(picture).max())
    return next((white for white in (1, 255) if brightest <= white), 65535)


def size_like(picture: Image.Image, size: tuple[int, int], spatial_stride: int = VAE_SPATIAL_STRIDE) -> tuple[int, int]:
    """(height, width), as `check_size` allows, that keep the picture's shape, with about as many pixels as `size`."""
    shape, area, multiple = picture.width / picture.height, size[0] * size[1], pixel_multiple(spatial_stride)

    def sides(ideal: float) -> list[int]:
        below = int(min(ideal, LONGEST_SIDE, area / multiple) // multiple) * multiple
        return [side for side in (below, below + multiple) if multiple <= side <= LONGEST_SIDE]

    def misfit(sides: tuple[int, int]) -> float:
        height, width = sides
        return abs(math.log(width / height / shape)) + abs(math.log(height * width / area)) / 4

    heights, widths = sides(math.sqrt(area / shape)), sides(math.sqrt(area * shape))
    return min(itertools.product(heights, widths), key=misfit)


def fill_and_crop(picture: Image.Image, height: int, width: int, crop: CropChoice = "center") -> Image.Image:
    """Scale to fill height x width pixels (Lanczos) and crop, by default as WorldPlay `resize_center_crop_to_tensor`.

    crop: the part that is kept: the centre, or what lies at one edge.

    Raises `InputError` if the picture is so long and thin that scaling it would take gigabytes, or for another crop.
    """
    if crop not in CROPS:
        raise InputError(f"The crop must be one of {', '.join(CROPS)}, got {crop!r}.")
    scale = max(width / picture.width, height / picture.height)
    # int() can be one pixel short through rounding, and the crop would add a black edge.
    filled = (max(width, int(picture.width * scale)), max(height, int(picture.height * scale)))
    if filled[0] * filled[1] > MOST_FILLED * height * width:
        raise InputError(
            f"The picture is {picture.width}x{picture.height} pixels, too long and thin to fill a frame of "
            f"{width}x{height}: crop it first."
        )
    resized = picture.resize(filled, Image.Resampling.LANCZOS)
    spare_x, spare_y = filled[0] - width, filled[1] - height
    left = {"left": 0, "right": spare_x}.get(crop, spare_x // 2)
    top = {"top": 0, "bottom": spare_y}.get(crop, spare_y // 2)
    return resized.crop((left, top, left + width, top + height))


def to_video_tensor(
    picture: Image.Image,
    height: int,
    width: int,
    crop: CropChoice = "center",
    *,
    spatial_stride: int = VAE_SPATIAL_STRIDE,
) -> Tensor:
    """One-frame video, float32 `[1, 3, 1, height, width]` in [-1, 1].

    Raises `InputError` as `check_size` and `fill_and_crop`.
    """
    check_size(height, width, spatial_stride)
    pixels = np.asarray(fill_and_crop(picture, height, width, crop), dtype=np.float32) / 127.5 - 1.0
    return torch.from_numpy(pixels).permute(2, 0, 1)[None, :, None].contiguous()
