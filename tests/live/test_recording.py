"""The video of a live walk has the frames of the way that was left in the end, and plays."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from hyworld import InputError, Pipeline, World
from hyworld.live.recording import MOST_WAITING, Recording
from hyworld.live.walk import Made
from hyworld.mp4 import encode_chunk
from hyworld.video import VideoWriter

from .conftest import SIZE, Walk
from .test_pictures import made


def shown(file: Path) -> list[np.ndarray]:
    """The frames; raises if one is damaged or not a sixteenth of a second after the one before."""
    with av.open(str(file)) as container:
        frames = list(container.decode(video=0))
    assert [frame.pts * frame.time_base * 16 for frame in frames] == list(range(len(frames)))
    return [frame.to_ndarray(format="rgb24") for frame in frames]


def of(line: list[Made], tmp_path: Path) -> list[np.ndarray]:
    """The frames of chunks, written without going back."""
    with VideoWriter(tmp_path / "plain.mp4", *SIZE, overwrite=True) as video:
        for made in line:
            video.write(made.chunk.frames)
    return shown(tmp_path / "plain.mp4")


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) and all(map(np.array_equal, a, b))


class Recorded(Walk):
    """A walk with a recording."""

    def __init__(self, pipeline: Pipeline, folder: Path, start: World | None = None) -> None:
        super().__init__(pipeline, start)
        self.video = VideoWriter(folder / "walk.mp4", *SIZE)
        self.recording = Recording(self.video, self.start)

    def made(self, made: Made) -> None:
        self.recording.add(made)
        super().made(made)

    def run(self, then: dict) -> World:
        with self.video, self.recording:
            world = super().run(then)
            self.recording.finish(world)
        return world


@pytest.mark.usefixtures("quick")
def test_another_way_replaces_what_followed(pipeline: Pipeline, tmp_path: Path):
    walk = Recorded(pipeline, tmp_path)

    def back() -> None:
        walk.hold("right")()
        walk.live.go_back(1)

    world = walk.run({0: walk.hold("w"), 3: back, 5: lambda: None})
    frames = shown(tmp_path / "walk.mp4")
    assert len(frames) == world.video_frames == 45
    assert same(frames, of([walk.chunks[0], *walk.chunks[3:]], tmp_path))
    assert not same(frames, of(walk.chunks[:3], tmp_path))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("end", "frames"), [(1, 13), (0, 0), (3, 45)])
def test_the_video_ends_where_one_stands_in_the_end(pipeline: Pipeline, tmp_path: Path, end: int, frames: int):
    """Going forward again brings back what going back had left out."""
    walk = Recorded(pipeline, tmp_path)
    places = [0, end]

    def wait() -> None:
        if len(walk.chunks) == 3 and walk.live.state == "standing":
            if places:
                walk.live.go_back(places.pop(0))
            else:
                walk.live.stop()

    walk.live._on_wait = wait

    def back() -> None:
        walk.hold()()
        walk.live.go_back(2)

    world = walk.run({0: walk.hold("w"), 3: back, 9: lambda: None})
    assert world.chunks == end
    if not frames:
        assert list(tmp_path.iterdir()) == []
    else:
        assert same(shown(tmp_path / "walk.mp4"), of(walk.chunks[:end], tmp_path))


@pytest.mark.usefixtures("quick")
def test_a_world_walked_on_in_has_the_new_frames_alone_however_far_one_went_back(pipeline: Pipeline, tmp_path: Path):
    first = Walk(pipeline)
    start = first.run({0: first.hold("w"), 2: lambda: None})
    walk = Recorded(pipeline, tmp_path, start)
    walk.run({0: walk.hold("d"), 1: lambda: walk.live.go_back(1), 3: lambda: None})
    assert [made.chunk.index for made in walk.chunks] == [2, 1, 2]
    assert same(shown(tmp_path / "walk.mp4"), of(walk.chunks[1:], tmp_path))


@pytest.mark.usefixtures("quick")
def test_a_copy_has_the_way_so_far_and_the_recording_goes_on(pipeline: Pipeline, tmp_path: Path):
    walk = Recorded(pipeline, tmp_path)
    copies: list[int] = []

    def copy() -> None:
        copies.append(walk.recording.copy(tmp_path / f"{len(copies)}.mp4", walk.live.world))

    def back() -> None:
        copy()
        copies.append(walk.recording.copy(tmp_path / "1.mp4", walk.live.world.at_chunk(1)))
        walk.live.go_back(1)

    assert walk.recording.copy(tmp_path / "none.mp4", walk.start) == 0
    walk.run({0: walk.hold("w"), 2: back, 3: copy, 4: lambda: None})
    assert copies == [29, 13, 29]
    assert same(shown(tmp_path / "0.mp4"), of(walk.chunks[:2], tmp_path))
    assert same(shown(tmp_path / "1.mp4"), of(walk.chunks[:1], tmp_path))
    assert same(shown(tmp_path / "2.mp4"), of([walk.chunks[0], walk.chunks[2]], tmp_path))
    assert len(shown(tmp_path / "walk.mp4")) == 45
    assert {file.name for file in tmp_path.iterdir()} == {"0.mp4", "1.mp4", "2.mp4", "walk.mp4", "plain.mp4"}


@pytest.mark.usefixtures("quick")
def test_a_full_disk_ends_the_recording_and_not_the_walk(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(VideoWriter, "_add", full)
    walk = Recorded(pipeline, tmp_path)
    with pytest.raises(InputError, match="no space left"):
        walk.run({0: walk.hold("w"), 3: lambda: None})
    assert walk.live.world.chunks == 3
    assert isinstance(walk.recording.failure, InputError)


def test_adding_does_not_wait_for_the_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    go_on = threading.Event()

    def slow(*args: Any, **options: Any) -> tuple[bytes, bytes]:
        go_on.wait(20)
        return encode_chunk(*args, **options)

    monkeypatch.setattr("hyworld.video.encode_chunk", slow)
    start = made(0).chunk.world.at_chunk(0)
    with VideoWriter(tmp_path / "a.mp4", *SIZE) as video, Recording(video, start) as recording:
        recording.add(made(0, frames=13))
        for index in (1, 2, 3, 4):
            recording.add(made(index))
        go_on.set()
        recording.finish(made(4).chunk.world)
    assert len(shown(tmp_path / "a.mp4")) == 77


def test_a_walk_that_is_faster_than_the_encoder_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    go_on, added = threading.Event(), []

    def slow(*args: Any, **options: Any) -> tuple[bytes, bytes]:
        go_on.wait(20)
        return encode_chunk(*args, **options)

    def walk() -> None:
        for index in range(MOST_WAITING + 4):
            recording.add(made(index, frames=16 if index else 13))
            added.append(index)

    monkeypatch.setattr("hyworld.video.encode_chunk", slow)
    start = made(0).chunk.world.at_chunk(0)
    with VideoWriter(tmp_path / "a.mp4", *SIZE) as video, Recording(video, start) as recording:
        walking = threading.Thread(target=walk)
        walking.start()
        walking.join(1)
        # The writer has a chunk in work beside.
        assert MOST_WAITING <= len(added) <= MOST_WAITING + 2
        go_on.set()
        walking.join(20)
        recording.finish(made(MOST_WAITING + 3).chunk.world)
    assert len(shown(tmp_path / "a.mp4")) == 13 + 16 * (MOST_WAITING + 3)


def test_a_copy_of_a_way_that_is_not_written_yet_or_any_more_has_what_there_is(tmp_path: Path):
    """The world is read on another thread than the one that walks."""
    start = made(0).chunk.world.at_chunk(0)
    with VideoWriter(tmp_path / "a.mp4", *SIZE) as video, Recording(video, start) as recording:
        recording.add(made(0, frames=13))
        recording.add(made(1))
        assert recording.copy(tmp_path / "copy.mp4", made(2).chunk.world) == 29
        recording.add(made(0, frames=13))
        assert recording.copy(tmp_path / "copy.mp4", made(1).chunk.world) == 13
