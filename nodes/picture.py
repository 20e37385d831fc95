"""Encode First Frame."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor

from ..hyworld.config import PIXEL_MULTIPLE, TINY, WAN_5B, check_size, frames_in, pixel_multiple
from ..hyworld.errors import InputError
from ..hyworld.picture import CROPS, LONGEST_SIDE, CropChoice, size_like, to_video_tensor
from ..hyworld.walk import Recipe
from ..hyworld.walk.recipes import SELF_FORCING
from .host.prompt import inputs_of
from .host.run import output_device
from .host.vae import HostVAE
from .literals import check_sides
from .pixels import to_image, to_picture
from .schema import schema

FIELDS = "width and height"
LEAST_MULTIPLE = pixel_multiple(SELF_FORCING.spatial_stride)
"""Of pixels: that of the Wan 2.1 VAE."""

OWN_SHAPE = "the picture's own shape"
SIZES = {
    "1280x704 (trained)": (704, 1280),
    "704x1280 (portrait)": (1280, 704),
    "832x480": (480, 832),
    "480x832": (832, 480),
    "640x352": (352, 640),
    "352x640": (640, 352),
    "288x160 (built-in world)": (160, 288),
}
"""Presets by name, as (height, width)."""

VIDEO = "hyworld_video"
"""Where a LATENT keeps the picture it was encoded from, `[1, 3, 1, H, W]` in [-1, 1]: some models need more of it."""

FRAMES = {"first": 0, "last": -1}
"""Which picture of a batch."""


class EncodeFirstFrame(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        side = {"min": LEAST_MULTIPLE, "max": LONGEST_SIDE, "step": LEAST_MULTIPLE}
        return schema(
            node_id="HYWorldEncodeFirstFrame",
            display_name="Encode First Frame",
            description=(
                "Scales a picture to fill the frame (Lanczos), crops it, and encodes it as the first latent of a walk. "
                "The size chosen here is the size of the video."
            ),
            search_aliases=["hyworld", "first frame", "start image", "image to world"],
            inputs=[
                io.Image.Input("image", tooltip="The picture the walk starts from, any size; of a batch, see frame."),
                io.Vae.Input("vae", tooltip="The model's VAE (Load VAE: Wan 2.2, or Wan 2.1), or that of Tiny World."),
                io.Int.Input(
                    "width",
                    default=WAN_5B.size[1],
                    **side,
                    tooltip="Width of the video in pixels, a multiple of 32 (of 16 with the Wan 2.1 VAE). "
                    "WorldPlay was trained at 1280x704.",
                ),
                io.Int.Input(
                    "height",
                    default=WAN_5B.size[0],
                    **side,
                    tooltip="Height of the video in pixels, a multiple of 32 (of 16 with the Wan 2.1 VAE).",
                ),
                io.Combo.Input(
                    "size",
                    options=[FIELDS, *SIZES, OWN_SHAPE],
                    default=FIELDS,
                    optional=True,
                    tooltip="Width and height above; or a size by name; or the picture's own shape, in multiples of "
                    "32 (or 16), at about as many pixels as the model was trained at. Those two ignore width and "
                    "height.",
                ),
                io.Combo.Input(
                    "crop",
                    options=list(CROPS),
                    default=CROPS[0],
                    optional=True,
                    tooltip="The part that is kept of a picture of another shape: its centre, or what is at one edge.",
                ),
                io.Combo.Input(
                    "frame",
                    options=list(FRAMES),
                    default="first",
                    optional=True,
                    tooltip="The picture taken of a batch: with last, a walk goes on from the end of a video.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="first_frame", tooltip="For the Streaming Sampler."),
                io.Image.Output(display_name="cropped", tooltip="What the model sees of the picture."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, width: int = WAN_5B.size[1]) -> bool | str:
        # Only the width: the host repeats an error for every input named here.
        if not isinstance(width, int):
            return True  # not a number, which the host reports
        written = inputs_of(cls.hidden.unique_id)
        if written.get("size", FIELDS) != FIELDS:
            return True
        height = written.get("height")
        if width > LONGEST_SIDE:
            return f"The width must be at most {LONGEST_SIDE} pixels, got {width}."
        try:
            check_sides(cls.hidden.unique_id, height if _in_range(height) else PIXEL_MULTIPLE, width)
        except InputError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls,
        image: Tensor,
        vae: Any,
        width: int,
        height: int,
        size: str = FIELDS,
        crop: CropChoice = "center",
        frame: str = "first",
    ) -> io.NodeOutput:
        if frame not in FRAMES:
            raise InputError(f"The frame must be one of {', '.join(FRAMES)}, got {frame!r}.")
        host = HostVAE(vae)
        picture = to_picture(image[FRAMES[frame]])
        height, width = _height_width(size, (height, width), picture, host)
        video = to_video_tensor(picture, height, width, crop, spatial_stride=host.spatial_stride)
        latent = host.denormalise(host.encode(video)).to(output_device())
        cropped = to_image(video[0]).to(output_device())
        return io.NodeOutput({"samples": latent, VIDEO: video}, cropped, ui=ui.PreviewText(f"{width}x{height}"))


def first_latents(first_frame: Any, vae: HostVAE, recipe: Recipe, size: tuple[int, int]) -> Tensor:
    """Normalised latents of a LATENT's picture, as `Walker.begin` takes them for this recipe.

    size: (height, width) asked for elsewhere, 0 where none was.

    Raises `InputError` if it is another VAE's or of another size, or lacks the picture where more than one is needed.
    """
    raw = first_frame["samples"].float()
    if raw.ndim != 5 or tuple(raw.shape[:3]) != (1, vae.latent_channels, 1):
        raise InputError(
            f"The first frame must be one latent of shape [1, {vae.latent_channels}, 1, h, w], got {list(raw.shape)}: "
            "connect Encode First Frame with the VAE of this model."
        )
    height, width = (side * vae.spatial_stride for side in raw.shape[3:])
    asked = (size[1] or width, size[0] or height)
    if asked != (width, height):
        raise InputError(
            f"The first frame is {width}x{height}, but {asked[0]}x{asked[1]} is asked for: set the size in "
            "Encode First Frame and leave width and height at 0 here."
        )
    if recipe.picture != "channels":
        return vae.normalise(raw)
    picture = first_frame.get(VIDEO)
    if picture is None or tuple(picture.shape[3:]) != (height, width):
        raise InputError(
            "This model needs the picture itself beside its latent: wire Encode First Frame to first_frame directly."
        )
    after = picture.new_zeros(1, 3, frames_in(recipe.chunk_latents) - 1, height, width)
    return vae.encode(torch.cat((picture, after), dim=2))


def _in_range(value: Any) -> bool:
    """Whether the host accepts it as a height; what it does not, it reports itself."""
    return isinstance(value, int) and LEAST_MULTIPLE <= value <= LONGEST_SIDE


def _height_width(size: str, fields: tuple[int, int], picture: Image.Image, vae: HostVAE) -> tuple[int, int]:
    if size == FIELDS:
        check_size(*fields, vae.spatial_stride)
        return fields
    if size == OWN_SHAPE:
        trained = TINY if vae.latent_channels == TINY.dit.latent_channels else WAN_5B
        is_21 = vae.spatial_stride == SELF_FORCING.spatial_stride
        return size_like(picture, SELF_FORCING.size if is_21 else trained.size, vae.spatial_stride)
    if size not in SIZES:
        raise InputError(f"The size must be one of {', '.join((FIELDS, *SIZES, OWN_SHAPE))}, got {size!r}.")
    return SIZES[size]
