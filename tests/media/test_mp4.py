"""The encoder: the same frames give the same bytes, and a PyAV without it is told in one sentence."""

from __future__ import annotations

import ctypes
from pathlib import Path

import av
import pytest
import torch
from torch.nn import functional as F

from hyworld.errors import InputError
from hyworld.mp4 import encode_chunk
from hyworld.video import VideoWriter

_M_PERTURB = -6  # glibc's number: fill memory with this byte when it is handed out


def moving(count: int) -> torch.Tensor:
    """A smooth picture that slides by; of this size, because in smaller ones x264 reads nothing that matters."""
    coarse = torch.rand(1, 3, 20, 60)
    wide = (F.interpolate(coarse, (128, 1664), mode="bicubic")[0].clamp(0, 1) * 255).byte().permute(1, 2, 0)
    return torch.stack([wide[:, 3 * i : 3 * i + 832] for i in range(count)])


def test_what_the_memory_held_before_changes_nothing():
    """With x264's macroblock tree it does."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, TypeError, OSError):
        pytest.skip("needs glibc, which can fill fresh memory")
    frames, found = moving(16), set()
    try:
        for byte in (85, 170, 255):
            mallopt(_M_PERTURB, byte)
            found.add(encode_chunk(frames, first=0, fps=16)[1])
    finally:
        mallopt(_M_PERTURB, 0)
    assert len(found) == 1


def test_every_chunk_has_the_same_header():
    headers = {encode_chunk(moving(count), first=first, fps=16)[0] for count, first in ((13, 0), (16, 13))}
    assert len(headers) == 1


def test_a_pyav_without_x264_is_one_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="nowhere") as unknown:
        av.codec.Codec("nowhere", "w")

    def refuse(*_: object, **__: object) -> None:
        raise unknown.value

    monkeypatch.setattr("av.codec.Codec", refuse)
    with pytest.raises(InputError, match=r"built without libx264.*pip install"):
        VideoWriter(tmp_path / "a.mp4", 64, 96)
    assert list(tmp_path.iterdir()) == []
