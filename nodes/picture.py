"""Encode First Frame."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..hyworld.config import PIXEL_MULTIPLE, WAN_5B, check_size
from ..hyworld.errors import InputError
from ..hyworld.picture import to_video_tensor
from .host.run import output_device
from .host.vae import HostVAE
from .pixels import to_image, to_picture
from .schema import schema

MAX_SIDE = 4096
"""Longest side in pixels."""


class EncodeFirstFrame(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        side = {"min": PIXEL_MULTIPLE, "max": MAX_SIDE, "step": PIXEL_MULTIPLE}
        return schema(
            node_id="HYWorldEncodeFirstFrame",
            display_name="Encode First Frame",
            description=(
                "Scales a picture to fill the frame (Lanczos), crops its centre, and encodes it as the first latent of "
                "a walk. The size chosen here is the size of the video."
            ),
            search_aliases=["hyworld", "first frame", "start image", "image to world"],
            inputs=[
                io.Image.Input("image", tooltip="The picture the walk starts from, any size; of a batch, the first."),
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
            ],
            outputs=[
                io.Latent.Output(display_name="first_frame", tooltip="For the Streaming Sampler."),
                io.Image.Output(display_name="cropped", tooltip="What the model sees of the picture."),
            ],
        )

    @classmethod
    def validate_inputs(cls, width: int = WAN_5B.size[1], height: int = WAN_5B.size[0]) -> bool | str:
        if not (isinstance(width, int) and isinstance(height, int)):
            return True  # a link, or not a number, which the host reports
        for name, side in (("width", width), ("height", height)):
            if side > MAX_SIDE:
                return f"The {name} must be at most {MAX_SIDE} pixels, got {side}."
        try:
            check_size(height, width)
        except InputError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, image: Tensor, vae: Any, width: int, height: int) -> io.NodeOutput:
        check_size(height, width)
        video = to_video_tensor(to_picture(image[0]), height, width)
        host = HostVAE(vae)
        latent = host.denormalise(host.encode(video)).to(output_device())
        return io.NodeOutput({"samples": latent}, to_image(video[0]).to(output_device()))
