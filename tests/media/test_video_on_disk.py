"""What is in the file while it grows, who encodes it, and which name it gets."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest
import torch

from hyworld import mp4
from hyworld.errors import InputError
from hyworld.video import VideoWriter

CHUNKS = (13, 16, 16, 16)


def noise(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 64, 96, 3), dtype=torch.uint8)


def times(file: Path) -> list[Fraction]:
    """When each frame is shown, in frames; raises if any frame is damaged."""
    with av.open(str(file)) as container:
        return [frame.pts * frame.time_base * 16 for frame in container.decode(video=0)]


@pytest.mark.parametrize("flushed", [True, False])
def test_every_finished_chunk_is_playable_under_the_temporary_name(tmp_path: Path, flushed: bool):
    with VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        for i, count in enumerate(CHUNKS):
            video.write(noise(count))
            if flushed:
                video.flush()
                assert video.frames_written == sum(CHUNKS[: i + 1])
            if flushed or i:
                least = sum(CHUNKS[: i + flushed])
                shown = times(tmp_path / "a.part.mp4")
                assert shown == list(range(len(shown)))
                assert len(shown) in (least, sum(CHUNKS[: i + 1]))
    assert times(tmp_path / "a.mp4") == list(range(sum(CHUNKS)))


def test_a_fragment_cut_anywhere_does_not_show(tmp_path: Path):
    """A kill may stop a write in its middle."""
    seen = []
    with VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        video.write(noise(13))
        video.flush()
        file = video._file

        def write_in_two(data: bytes) -> None:
            for half in (data[: len(data) // 2], data[len(data) // 2 :]):
                file.write(half)
                file.flush()
                seen.append(len(times(Path(file.name))))

        names = {name: getattr(file, name) for name in ("name", "tell", "seek", "flush", "close")}
        video._file = SimpleNamespace(write=write_in_two, **names)
        video.write(noise(16))
    assert len(seen) >= 2
    assert set(seen) == {13, 29}


def test_the_finished_file_is_an_ordinary_mp4(tmp_path: Path):
    """A table of contents, a length, BT.709; fragments have the last of these."""

    def facts(file: Path) -> tuple[int, float, tuple[int, ...]]:
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            context = stream.codec_context
            tags = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
            return stream.frames, container.duration / av.time_base, tuple(int(tag) for tag in tags)

    with VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        for count in CHUNKS:
            video.write(noise(count))
        video.flush()
        assert facts(tmp_path / "a.part.mp4")[2] == (1, 1, 1, 1)
    assert facts(tmp_path / "a.mp4") == (61, pytest.approx(61 / 16, abs=0.01), (1, 1, 1, 1))
    assert b"moof" not in (tmp_path / "a.mp4").read_bytes()


def test_without_room_for_a_copy_the_fragments_are_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("hyworld.video.write_ordinary", full)
    with VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        video.write(noise(13))
        video.write(noise(16))
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
    assert len(times(tmp_path / "a.mp4")) == 29


class OldContainer:
    """An output container as before PyAV 14.4: a copied stream gets the description of a new encoder."""

    def __init__(self, container: Any) -> None:
        self._container = container
        self.mux = container.mux

    def __enter__(self) -> OldContainer:
        return self

    def __exit__(self, *error: object) -> None:
        self._container.close()

    def add_stream_from_template(self, template: Any) -> Any:
        stream = self._container.add_stream("libx264", rate=16)
        stream.height, stream.width, stream.pix_fmt = template.height, template.width, "yuv420p"
        return stream


def test_a_copy_that_nobody_could_decode_is_not_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    opened = av.open

    def old(file: Any, mode: str = "r", **options: Any) -> Any:
        container = opened(file, mode, **options)
        return OldContainer(container) if mode == "w" and isinstance(file, str) else container

    monkeypatch.setattr("av.open", old)
    with VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        video.write(noise(13))
    monkeypatch.undo()
    assert len(times(tmp_path / "a.mp4")) == 13


class SlowEncoder:
    """`encode_chunk` that waits until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        self.threads: set[threading.Thread] = set()
        monkeypatch.setattr("hyworld.video.encode_chunk", self)

    def __call__(self, frames: torch.Tensor, *, first: int, fps: int, **options: Any) -> tuple[bytes, bytes]:
        self.threads.add(threading.current_thread())
        assert self.go.wait(20)
        return mp4.encode_chunk(frames, first=first, fps=fps, **options)


def test_a_chunk_is_encoded_while_the_next_is_made_and_no_more_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    encoder = SlowEncoder(monkeypatch)
    with VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        video.write(noise(13))  # returns although nothing is encoded yet
        assert video.frames_written == 0
        second = threading.Thread(target=video.write, args=(noise(16),))
        second.start()
        second.join(0.3)
        waited = second.is_alive()
        encoder.go.set()
        second.join(20)
        assert waited
        assert not second.is_alive()
        assert video.frames_written >= 13
    assert threading.current_thread() not in encoder.threads
    assert len(times(tmp_path / "a.mp4")) == 29


def test_an_interrupt_while_a_write_waits_keeps_its_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    encoder = SlowEncoder(monkeypatch)

    def interrupt() -> None:
        while len(video._pending) < 2:
            time.sleep(0.01)
        time.sleep(0.1)  # the main thread waits in the second write now
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        video.write(noise(13))
        threading.Thread(target=interrupt).start()
        try:
            video.write(noise(16))
        finally:
            encoder.go.set()
        pytest.fail("the write did not wait")
    assert len(times(tmp_path / "a.mp4")) == 29


def test_a_fault_of_the_encoder_is_raised_and_keeps_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(frames: torch.Tensor, *, first: int, fps: int, **options: Any) -> tuple[bytes, bytes]:
        if first:
            raise RuntimeError("encoder")
        return mp4.encode_chunk(frames, first=first, fps=fps, **options)

    monkeypatch.setattr("hyworld.video.encode_chunk", fail)
    with pytest.raises(RuntimeError, match="encoder"), VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        video.write(noise(13))
        video.write(noise(16))
    assert len(times(tmp_path / "a.mp4")) == 13


def test_frames_of_another_size_are_a_programming_error(tmp_path: Path):
    with pytest.raises(ValueError, match=r"\(64, 96\)"), VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        video.write(torch.zeros(1, 96, 64, 3, dtype=torch.uint8))


def test_before_the_first_frames_there_is_no_file(tmp_path: Path):
    """A process killed while it loads the model leaves nothing."""
    with VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        assert list(tmp_path.iterdir()) == []
        video.write(noise(1))


def test_two_walks_of_one_default_name_are_two_files(tmp_path: Path):
    with VideoWriter(tmp_path / "walk.mp4", 64, 96, or_next=True) as first:
        first.write(noise(13))
        first.flush()
        with VideoWriter(tmp_path / "walk.mp4", 64, 96, or_next=True) as second:
            second.write(noise(16))
            second.flush()
            assert {file.name for file in tmp_path.iterdir()} == {"walk.part.mp4", "walk.part-2.mp4"}
    assert (first.path.name, second.path.name) == ("walk-2.mp4", "walk.mp4")
    assert [len(times(video.path)) for video in (first, second)] == [13, 16]
    assert len(list(tmp_path.iterdir())) == 2


def test_who_finds_a_given_name_taken_at_the_end_keeps_the_walk(tmp_path: Path):
    target = tmp_path / "a.mp4"
    with (
        pytest.raises(InputError, match=r"a\.mp4 exists already.*kept as .*a\.part\.mp4"),
        VideoWriter(target, 64, 96) as video,
    ):
        video.write(noise(13))
        target.write_bytes(b"precious")
    assert target.read_bytes() == b"precious"
    assert {file.name for file in tmp_path.iterdir()} == {"a.mp4", "a.part.mp4"}
    assert len(times(tmp_path / "a.part.mp4")) == 13


def test_what_a_killed_walk_left_is_not_touched(tmp_path: Path):
    (tmp_path / "a.part.mp4").write_bytes(b"precious")
    with VideoWriter(tmp_path / "a.mp4", 64, 96) as video:
        video.write(noise(13))
    assert (tmp_path / "a.part.mp4").read_bytes() == b"precious"
    assert {file.name for file in tmp_path.iterdir()} == {"a.mp4", "a.part.mp4"}
