"""IMAGE filled chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def test_frames_arrive_in_order_as_0_to_1(pack: Callable[[str], Any]) -> None:
    chunks = [torch.randint(0, 256, (n, 4, 6, 3), dtype=torch.uint8) for n in (13, 16, 16)]
    frames = pack("nodes.frames").Frames(45, (4, 6), torch.device("cpu"))
    place = frames.images.data_ptr()
    for chunk in chunks:
        frames.append(chunk)
    assert frames.images.dtype == torch.float32
    assert torch.equal(frames.images, torch.cat(chunks).float() / 255)
    assert frames.images.data_ptr() == place, "the frames lie in memory once"
