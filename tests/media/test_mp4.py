"""The encoder: the same frames give the same bytes, and a PyAV without it is told in one sentence."""

from __future__ import annotations

import ctypes
from pathlib import Path

import av
import pytest
import torch

from hyworld.errors import InputError
from hyworld.mp4 import encode_chunk
from hyworld.video import VideoWriter

_M_PERTURB = -6  # glibc's number: fill memory with this byte when it is handed out


def frames_of(kind: str) -> torch.Tensor:
    noise = torch.randint(0, 256, (16, 96, 160, 3), dtype=torch.uint8)
    return noise if kind == "noise" else torch.full_like(noise, 90)


@pytest.mark.parametrize("kind", ["noise", "flat"])
def test_what_the_memory_held_before_changes_nothing(kind: str):
    """It does with x264's macroblock tree."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, TypeError, OSError):
        pytest.skip("needs glibc, which can fill fresh memory")
    frames, found = frames_of(kind), set()
    try:
        for byte in (0, 85, 170, 255):
            mallopt(_M_PERTURB, byte)
            found.add(encode_chunk(frames, first=0, fps=16)[1])
    finally:
        mallopt(_M_PERTURB, 0)
    assert len(found) == 1


def test_every_chunk_has_the_same_header():
    headers = {encode_chunk(frames_of("noise")[:count], first=first, fps=16)[0] for count, first in ((13, 0), (16, 13))}
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
