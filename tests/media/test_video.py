"""The mp4: right frames, right colours, whole or nothing."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from hyworld.errors import InputError
from hyworld.mp4 import write_ordinary
from hyworld.video import VideoWriter


def read(file: Path) -> list[np.ndarray]:
    with av.open(str(file)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


KEPT = r"no space left on the disk .* The 2 frames before are kept in .*a\.part\.mp4"


def fill_the_disk(video: VideoWriter) -> None:
    """Half of what is written still fits."""

    def full(data: bytes) -> None:
        file.write(data[: len(data) // 2])
        file.flush()
        raise OSError(errno.ENOSPC, "No space left on device")

    file = video._file
    video._file = SimpleNamespace(name=file.name, tell=file.tell, write=full, close=file.close)


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


def test_a_full_disk_is_one_sentence_and_keeps_the_frames_before(tmp_path: Path):
    with pytest.raises(InputError, match=KEPT), VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        video.write(flat(2, (1, 2, 3)))
        video.flush()
        fill_the_disk(video)
        for _ in range(3):  # the thread's error comes out of the next call
            video.write(flat(2, (1, 2, 3)))
        pytest.fail("written onto a full disk")
    assert [file.name for file in tmp_path.iterdir()] == ["a.part.mp4"]
    assert len(read(tmp_path / "a.part.mp4")) == 2


def test_a_disk_that_is_full_with_the_first_frames_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def add(self: VideoWriter, *_: bytes) -> None:
        self._file = self._open_part()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(VideoWriter, "_add", add)
    with pytest.raises(InputError, match="no space left"), VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        video.write(flat(2, (1, 2, 3)))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_with_the_last_frames_is_told_on_leaving(tmp_path: Path):
    with pytest.raises(InputError, match=KEPT), VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        video.write(flat(2, (1, 2, 3)))
        video.flush()
        fill_the_disk(video)
        video.write(flat(2, (1, 2, 3)))
    assert len(read(tmp_path / "a.part.mp4")) == 2


def test_a_fault_elsewhere_keeps_what_was_written(tmp_path: Path):
    with pytest.raises(InputError, match="NaN"), VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        video.write(flat(13, (90, 90, 90)))
        raise InputError("The network returned NaN.")
    assert len(read(tmp_path / "a.mp4")) == 13


def test_a_folder_that_takes_no_files_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(InputError, match="Read-only file system"):
        VideoWriter(tmp_path / "a.mp4", 64, 96)


def test_a_second_interrupt_does_not_disturb_the_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """While the file is finished, Ctrl-C is ignored, and afterwards it is what it was."""
    before = signal.getsignal(signal.SIGINT)

    def interrupted(*files: Path) -> None:
        signal.raise_signal(signal.SIGINT)
        write_ordinary(*files)

    monkeypatch.setattr("hyworld.video.write_ordinary", interrupted)
    with VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        video.write(flat(2, (1, 2, 3)))
    assert len(read(tmp_path / "a.mp4")) == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_a_name_that_looks_like_a_protocol_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with VideoWriter("pipe:1.mp4", 64, 96) as video:
        video.write(flat(2, (1, 2, 3)))
    assert [file.name for file in tmp_path.iterdir()] == ["pipe:1.mp4"]


def test_a_link_that_leads_nowhere_is_kept(tmp_path: Path):
    (tmp_path / "a.mp4").symlink_to("nowhere.mp4")
    with pytest.raises(InputError, match="exists already"):
        VideoWriter(tmp_path / "a.mp4", 64, 96)
    assert (tmp_path / "a.mp4").is_symlink()


def test_a_side_beyond_the_encoder_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="at most 16384 pixels a side, got 32x16416"):
        VideoWriter(tmp_path / "a.mp4", 32, 16416)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_already_is_told_before_the_first_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match="no space left on the disk"):
        VideoWriter(tmp_path / "a.mp4", 64, 96)
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


@pytest.mark.parametrize("kept", [0, 3, 6, 9])
def test_a_rewound_video_has_what_was_kept_and_what_followed(tmp_path: Path, kept: int):
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    with VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        for colour in colours:
            video.write(flat(3, colour))
        video.rewind(kept)
        assert video.frames_written == kept
        video.write(flat(3, (250, 250, 250)))
    frames = read(tmp_path / "a.mp4")
    want = [colour for colour in colours for _ in range(3)][:kept] + [(250, 250, 250)] * 3
    assert len(frames) == len(want)
    for frame, colour in zip(frames, want, strict=True):
        assert np.abs(frame.mean(axis=(0, 1)) - colour).max() < 4
    with av.open(str(tmp_path / "a.mp4")) as container:
        shown = [frame.pts * frame.time_base * 16 for frame in container.decode(video=0)]
    assert shown == list(range(len(want)))


def test_a_video_rewound_to_its_beginning_leaves_nothing(tmp_path: Path):
    with VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        video.write(flat(3, (1, 2, 3)))
        video.rewind(0)
    assert list(tmp_path.iterdir()) == []


def test_a_rewind_ends_where_a_write_ended(tmp_path: Path):
    with pytest.raises(ValueError, match="do not end where"), VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        video.write(flat(3, (1, 2, 3)))
        video.rewind(2)


def test_a_copy_is_a_video_of_its_own(tmp_path: Path):
    with VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        for _ in range(2):
            video.write(flat(3, (200, 30, 30)))
        assert video.copy(tmp_path / "b.mp4") == 6
        assert video.copy(tmp_path / "c.mp4", 3) == 3
        assert video.copy(tmp_path / "d.mp4", 0) == 0
        video.write(flat(3, (30, 200, 30)))
    assert [len(read(tmp_path / name)) for name in ("a.mp4", "b.mp4", "c.mp4")] == [9, 6, 3]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mp4", "b.mp4", "c.mp4"]


@pytest.mark.parametrize(("quick", "effort"), [(False, b"subme=7 "), (True, b"subme=1 ")])
def test_a_quick_video_is_encoded_with_less_effort(tmp_path: Path, quick: bool, effort: bytes):
    with VideoWriter(tmp_path / "a.mp4", 64, 96, quick=quick) as video:
        for _ in range(2):
            video.write(flat(4, (200, 30, 30)))
    assert effort in (tmp_path / "a.mp4").read_bytes()  # x264 writes down its settings
    assert len(read(tmp_path / "a.mp4")) == 8
