"""The live preview: it plays beside the walk, and nothing that happens to it reaches the walk."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

PATIENCE = 10.0
"""Seconds that a thread may take on a busy machine for what takes none."""

SOON = 1.0
"""Seconds within which something counts as done at once; the tests set it against pauses many times as long."""


class Recorder:
    """A screen that remembers which frames it showed, and when."""

    def __init__(self, then: Callable[[], bool] = lambda: True) -> None:
        self.shown: list[int] = []
        self.times: list[float] = []
        self._then = then
        self._changed = threading.Condition()

    def show(self, picture: Image.Image) -> bool:
        with self._changed:
            self.shown.append(picture.getpixel((0, 0))[0])
            self.times.append(time.monotonic())
            self._changed.notify_all()
        return self._then()

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.shown) >= count, PATIENCE), f"only {self.shown} were shown"

    def seconds(self) -> float:
        """From the first picture to the last."""
        return self.times[-1] - self.times[0]


@pytest.fixture
def preview(pack: Callable[[str], Any]) -> Any:
    return pack("nodes.preview")


def chunk(*numbers: int) -> Tensor:
    """Frames of 2x3 pixels, each filled with its number."""
    return torch.tensor(numbers, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 2, 3, 3).contiguous()


def preview_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "hyworld-preview"]


def wait_for_the_end() -> None:
    """Until the preview thread has ended by itself."""
    for thread in preview_threads():
        thread.join(PATIENCE)
    assert not preview_threads()


def test_every_frame_is_shown_in_order_at_16_a_second(preview: Any) -> None:
    screen = Recorder()
    with preview.PreviewPlayer(screen) as player:
        player.play(chunk(*range(9)))
        screen.wait_for(9)
    assert screen.shown == list(range(9))
    assert 0.95 * 8 / 16 < screen.seconds() < 2 * 8 / 16


def test_a_slow_screen_does_not_slow_the_pace(preview: Any) -> None:
    screen = Recorder(then=lambda: time.sleep(0.1) or True)
    with preview.PreviewPlayer(screen, fps=8) as player:
        player.play(chunk(*range(7)))
        screen.wait_for(7)
    assert 0.95 * 6 / 8 < screen.seconds() < 6 / 8 + 0.4  # 0.6 more if the time of showing were added


def test_pictures_are_the_frames(preview: Any) -> None:
    frames = torch.randint(0, 256, (2, 4, 6, 3), dtype=torch.uint8)
    pictures: list[Image.Image] = []
    both = threading.Event()

    class Screen:
        def show(self, picture: Image.Image) -> bool:
            pictures.append(picture)
            if len(pictures) == 2:
                both.set()
            return True

    with preview.PreviewPlayer(Screen(), fps=100) as player:
        player.play(frames)
        assert both.wait(PATIENCE)
    assert [picture.mode for picture in pictures] == ["RGB", "RGB"]
    assert np.array_equal(np.stack([np.array(picture) for picture in pictures]), frames.numpy())


def test_a_newer_chunk_replaces_what_is_left_of_an_older_one_at_once(preview: Any) -> None:
    screen = Recorder()
    with preview.PreviewPlayer(screen, fps=1 / PATIENCE) as player:
        player.play(chunk(1, 2, 3))
        screen.wait_for(1)
        player.play(chunk(11))
        screen.wait_for(2)
        assert screen.shown == [1, 11]
        assert screen.seconds() < SOON


def test_play_returns_while_a_picture_is_being_shown(preview: Any) -> None:
    seen = threading.Event()
    screen = Recorder(then=lambda: seen.wait(PATIENCE))
    with preview.PreviewPlayer(screen, fps=100) as player:
        player.play(chunk(1, 2))
        screen.wait_for(1)
        began = time.monotonic()
        player.play(chunk(11))
        assert time.monotonic() - began < SOON
        seen.set()
        screen.wait_for(2)
    assert screen.shown == [1, 11]


def test_leaving_before_a_chunk_ends_the_thread(preview: Any) -> None:
    with preview.PreviewPlayer(Recorder()):
        assert len(preview_threads()) == 1
    wait_for_the_end()


def test_the_last_chunk_plays_to_its_end_without_being_waited_for(preview: Any) -> None:
    screen = Recorder()
    with preview.PreviewPlayer(screen, fps=8) as player:
        player.play(chunk(*range(9)))
        screen.wait_for(1)
        left = time.monotonic()
    assert time.monotonic() - left < 0.5
    wait_for_the_end()
    assert screen.shown == list(range(9))
    assert 0.95 < screen.seconds() < 2


def test_a_new_player_in_the_same_place_ends_the_old_one(preview: Any) -> None:
    old, new, elsewhere = Recorder(), Recorder(), Recorder()
    with preview.PreviewPlayer(elsewhere, "other", fps=8) as other:
        other.play(chunk(21, 22, 23, 24, 25, 26))
    with preview.PreviewPlayer(old, "7", fps=1) as player:
        player.play(chunk(1, 2, 3))
        old.wait_for(1)
    with preview.PreviewPlayer(new, "7", fps=100) as player:
        player.play(chunk(11, 12))
    wait_for_the_end()
    assert (old.shown, new.shown) == ([1], [11, 12])
    assert elsewhere.shown == [21, 22, 23, 24, 25, 26]


def test_an_error_ends_it_at_once(preview: Any) -> None:
    screen = Recorder()
    with pytest.raises(ZeroDivisionError), preview.PreviewPlayer(screen, fps=1 / PATIENCE) as player:
        player.play(chunk(1, 2, 3))
        screen.wait_for(1)
        left = time.monotonic()
        raise ZeroDivisionError
    assert time.monotonic() - left < SOON
    assert not preview_threads()
    assert screen.shown == [1]


def test_leaving_passes_on_what_ended_the_walk(preview: Any) -> None:
    with pytest.raises(ZeroDivisionError), preview.PreviewPlayer(Recorder()):
        raise ZeroDivisionError
    assert not preview_threads()


def test_a_screen_that_hangs_is_left_behind(preview: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "LEAVE_SECONDS", 0.1)
    hangs = threading.Event()
    screen = Recorder(then=lambda: hangs.wait(PATIENCE))
    with pytest.raises(ZeroDivisionError), preview.PreviewPlayer(screen, fps=100) as player:
        player.play(chunk(1, 2))
        screen.wait_for(1)
        left = time.monotonic()
        raise ZeroDivisionError
    assert time.monotonic() - left < SOON
    (thread,) = preview_threads()
    assert thread.daemon, "the process could not end"
    hangs.set()
    wait_for_the_end()
    assert screen.shown == [1], "a picture was shown after the walk"


def fails() -> bool:
    raise OSError("no screen")


def test_a_screen_that_raises_ends_the_preview_and_not_the_walk(preview: Any, caplog: pytest.LogCaptureFixture) -> None:
    screen = Recorder(then=fails)
    with preview.PreviewPlayer(screen, fps=100) as player:
        player.play(chunk(1, 2, 3))
        screen.wait_for(1)
        wait_for_the_end()
        player.play(chunk(11))
    assert screen.shown == [1]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "HY-WorldPlay: The preview ended because a picture could not be shown (OSError('no screen'))."
    )


def test_frames_that_make_no_picture_end_the_preview_and_not_the_walk(
    preview: Any, caplog: pytest.LogCaptureFixture
) -> None:
    screen = Recorder()
    with preview.PreviewPlayer(screen, fps=100) as player:
        player.play(torch.zeros(1, 2, 2, 5, dtype=torch.uint8))
        wait_for_the_end()
    assert screen.shown == []
    assert len(caplog.records) == 1


def test_a_screen_that_wants_no_more_ends_the_preview_without_a_word(
    preview: Any, caplog: pytest.LogCaptureFixture
) -> None:
    screen = Recorder(then=lambda: False)
    with preview.PreviewPlayer(screen, fps=100) as player:
        player.play(chunk(1, 2, 3))
        screen.wait_for(1)
        wait_for_the_end()
        player.play(chunk(11))
    assert screen.shown == [1]
    assert caplog.records == []
