"""What the benchmark reads out of videos whose answer is known."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.tiny_world import _chunk_measures, _steadiness, motion_sign


def texture(height: int, width: int) -> Tensor:
    """Soft random spots `[1, 3, height, width]`."""
    return F.interpolate(torch.rand(1, 3, height // 16, width // 16), (height, width), mode="bicubic") - 0.5


def test_a_chunk_of_half_the_contrast_is_half_as_sharp() -> None:
    video = texture(64, 96)[:, :, None].repeat(2, 1, 45, 1, 1)
    video[:, :, 29:] /= 2  # the third chunk: frames 29 to 44
    measures = _chunk_measures(video)
    assert measures.shape == (2, 3, 3)
    result = _steadiness(measures)
    assert result["contrast"] == result["sharpness"] == {"lowest": 0.5, "highest": 1.0, "last": 0.5}
    darker = _steadiness(_chunk_measures(video[:, :, :29] - 0.2 * (torch.arange(29) > 12)[None, None, :, None, None]))
    assert darker["brightness"]["lowest"] < 0.9
    assert darker["contrast"]["lowest"] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("key", "opposite", "step"), [("right", "left", (0, 2)), ("down", "up", (2, 0)), ("d", "a", (0, 2))]
)
def test_the_picture_moves_against_the_camera(key: str, opposite: str, step: tuple[int, int]) -> None:
    wide = texture(160, 224)
    views = [wide[:, :, step[0] * t :, step[1] * t :][:, :, :96, :160] for t in range(17)]
    video = torch.stack(views, dim=2)
    assert motion_sign(video, key).item() > 0
    assert motion_sign(video, opposite).item() < 0


def test_the_picture_grows_as_the_camera_goes_on() -> None:
    wide = texture(160, 288)
    views = [F.interpolate(wide[:, :, 2 * t : 160 - 2 * t, 4 * t : 288 - 4 * t], (160, 288)) for t in range(17)]
    video = torch.stack(views, dim=2)
    assert motion_sign(video, "w").item() > 0
    assert motion_sign(video, "s").item() < 0
