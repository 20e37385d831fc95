"""Encode First Frame."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor

from ..hyworld.config import PIXEL_MULTIPLE, TINY, WAN_5B, check_size
from ..hyworld.errors import InputError
from ..hyworld.picture import CROPS, LONGEST_SIDE, CropChoice, size_like, to_video_tensor
from .host.prompt import inputs_of
from .host.run import output_device
from .host.vae import HostVAE
from .pixels import to_image, to_picture
from .schema import schema

FIELDS = "width and height"
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

FRAMES = {"first": 0, "last": -1}
"""Which picture of a batch."""


class EncodeFirstFrame(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        side = {"min": PIXEL_MULTIPLE, "max": LONGEST_SIDE, "step": PIXEL_MULTIPLE}
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
                io.Vae.Input("vae", tooltip="The Wan 2.2 VAE (Load VAE), or that of Tiny World."),
                io.Int.Input(
                    "width",
                    default=WAN_5B.size[1],
                    **side,
                    tooltip="Width of the video in pixels, a multiple of 32. The model was trained at 1280x704.",
                ),
                io.Int.Input(
                    "height",
                    default=WAN_5B.size[0],
                    **side,
                    tooltip="Height of the video in pixels, a multiple of 32.",
                ),
                io.Combo.Input(
                    "size",
                    options=[FIELDS, *SIZES, OWN_SHAPE],
                    default=FIELDS,
                    optional=True,
                    tooltip="Width and height above; or a size by name; or the picture's own shape, in multiples of "
                    "32, at about as many pixels as the model was trained at. Those two ignore width and height.",
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
            check_size(height if _in_range(height) else PIXEL_MULTIPLE, width)
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
        height, width = _height_width(size, (height, width), picture, host.latent_channels)
        video = to_video_tensor(picture, height, width, crop)
        latent = host.denormalise(host.encode(video)).to(output_device())
        cropped = to_image(video[0]).to(output_device())
        return io.NodeOutput({"samples": latent}, cropped, ui=ui.PreviewText(f"{width}x{height}"))


def _in_range(value: Any) -> bool:
    """Whether the host accepts it as a height; what it does not, it reports itself."""
    return isinstance(value, int) and PIXEL_MULTIPLE <= value <= LONGEST_SIDE


def _height_width(size: str, fields: tuple[int, int], picture: Image.Image, latent_channels: int) -> tuple[int, int]:
    if size == FIELDS:
        check_size(*fields)
        return fields
    if size == OWN_SHAPE:
        return size_like(picture, (TINY if latent_channels == TINY.dit.latent_channels else WAN_5B).size)
    if size not in SIZES:
        raise InputError(f"The size must be one of {', '.join((FIELDS, *SIZES, OWN_SHAPE))}, got {size!r}.")
    return SIZES[size]
