"""Reading what a run put out: pictures, videos, latents and shown text."""

from __future__ import annotations

import io

import av
import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from .client import Client, Run

Frames = NDArray[np.uint8]
"""`[F, H, W, 3]`."""


def frames(client: Client, run: Run, node: str = "frames") -> Frames:
    """The pictures a Save Image or preview node wrote, in order."""
    pictures = [Image.open(io.BytesIO(client.view(file))) for file in run.outputs[node]["images"]]
    return np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])


def latents(client: Client, run: Run, node: str = "latents") -> Tensor:
    """The latents a Save Latent node wrote."""
    return safetensors.torch.load(client.view(run.outputs[node]["latents"][0]))["latent_tensor"]


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    """Both tensors are equal, bit for bit."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def video(client: Client, run: Run, node: str) -> tuple[Frames, float]:
    """The frames a Save Video node wrote, decoded one by one, and their rate."""
    with av.open(io.BytesIO(client.view(run.outputs[node]["images"][0]))) as container:
        rate = container.streams.video[0].average_rate
        assert rate is not None
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(decoded), float(rate)


def text(run: Run, node: str) -> str:
    """What a Preview as Text node shows."""
    shown: str = run.outputs[node]["text"][0]
    return shown
