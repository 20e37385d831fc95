"""The mp4: right frames, right colours, whole or nothing."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from hyworld.errors import InputError
from hyworld.video import VideoWriter


def read(file: Path) -> list[np.ndarray]:
    with av.open(str(file)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def flat(count: int, colour: tuple[int, int, int]) -> torch.Tensor:
    return torch.tensor(colour, dtype=torch.uint8).expand(count, 64, 96, 3)


def test_frames_come_back_in_order_and_colour(tmp_path: Path):
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (250, 250, 250)]
    with VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        for colour in colours:
            video.write(flat(3, colour))
    frames = read(tmp_path / "a.mp4")
    assert len(frames) == 12
    for i, frame in enumerate(frames):
        assert np.abs(frame.mean(axis=(0, 1)) - colours[i // 3]).max() < 4
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].average_rate == 16


def test_nothing_is_visible_under_the_name_until_it_is_whole(tmp_path: Path):
    target = tmp_path / "a.mp4"
    with VideoWriter(target, 64, 96) as video:
        video.write(flat(4, (9, 9, 9)))
        assert not target.exists()
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_an_interrupt_keeps_what_was_written(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        video.write(flat(13, (90, 90, 90)))
        raise KeyboardInterrupt
    assert len(read(tmp_path / "a.mp4")) == 13


def test_a_failure_before_the_first_frame_leaves_nothing(tmp_path: Path):
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / "a.mp4", 64, 96):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="no space left"), VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        video.write(flat(2, (1, 2, 3)))

        class FullDisk:
            def mux(self, packets: object) -> None:
                raise OSError(28, "No space left on device")

            def close(self) -> None:
                raise OSError(28, "No space left on device")

        video._container = FullDisk()
        video.write(flat(2, (1, 2, 3)))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_video_is_kept_unless_told(tmp_path: Path):
    target = tmp_path / "a.mp4"
    target.write_bytes(b"precious")
    with pytest.raises(InputError, match="exists already"):
        VideoWriter(target, 64, 96)
    assert target.read_bytes() == b"precious"
    with pytest.raises(KeyboardInterrupt), VideoWriter(target, 64, 96, overwrite=True):
        raise KeyboardInterrupt
    assert target.read_bytes() == b"precious"
    with VideoWriter(target, 64, 96, overwrite=True) as video:
        video.write(flat(2, (0, 0, 0)))
    assert len(read(target)) == 2


@pytest.mark.parametrize(
    ("name", "message"), [("a.avi", "ends in .mp4"), ("missing/a.mp4", "does not exist"), ("a", "ends in .mp4")]
)
def test_names_that_cannot_be_written(tmp_path: Path, name: str, message: str):
    with pytest.raises(InputError, match=message):
        VideoWriter(tmp_path / name, 64, 96)


def test_float_frames_are_a_programming_error(tmp_path: Path):
    with pytest.raises(TypeError, match="uint8"), VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        video.write(torch.zeros(1, 64, 96, 3))
