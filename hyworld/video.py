"""Writing the video while it is made, chunk by chunk, through PyAV (FFmpeg's libraries).

Memory stays flat however long the walk is, and a walk that is interrupted leaves a playable file.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
from av.video.reformatter import ColorRange, Colorspace
from torch import Tensor

from .atomic import check_new_file, discard, temporary_name
from .config import FRAMES_PER_SECOND
from .errors import InputError

_BT709 = 1  # FFmpeg's number for BT.709 primaries, transfer and matrix; without it players guess the colours
_LIMITED_RANGE = 1

LEAST_SPACE = 1 << 20
"""Bytes that must be free before minutes go into frames; a video of a few seconds has more."""

LONGEST_SIDE = 16384
"""Pixels: what the encoder (x264) can take."""


class VideoWriter:
    """H.264 in MP4, written under a temporary name beside `path` and renamed when it is whole.

    Use it as a context manager. Leaving it by an exception (Ctrl-C too) still finishes and keeps the
    frames written so far; with none written, or with a full disk, nothing stays behind.

    Raises:
        InputError: another ending than .mp4, a missing folder, no right to write, a full disk, an existing
            file without `overwrite`, or a side above `LONGEST_SIDE`.
    """

    def __init__(
        self, path: str | Path, height: int, width: int, *, fps: int = FRAMES_PER_SECOND, overwrite: bool = False
    ) -> None:
        self.path = Path(path)
        self.frames_written = 0
        self._write_failed = False
        check_new_file(self.path, ".mp4", overwrite=overwrite)
        if max(height, width) > LONGEST_SIDE:
            raise InputError(
                f"A video has at most {LONGEST_SIDE} pixels a side, got {height}x{width}: choose a smaller size."
            )
        self._part = temporary_name(self.path)
        try:
            if shutil.disk_usage(self.path.parent).free < LEAST_SPACE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            # Opened by Python first: its error for a folder one may not write to is the clearer one.
            self._part.touch()
            # Absolute, because FFmpeg takes a relative name with a colon in it for a protocol.
            self._container: Any = av.open(str(self._part.absolute()), "w", format="mp4")
        except OSError as error:
            discard(self._part)
            raise self._explained(error) from error
        stream = self._container.add_stream("libx264", rate=Fraction(fps))
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        # x264's macroblock tree reads memory it never wrote: with it the same frames give different files.
        stream.options = {"crf": "17", "preset": "medium", "mbtree": "0"}
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        self._stream: Any = stream

    def write(self, frames: Tensor) -> None:
        """Append uint8 frames `[F, H, W, 3]`.

        Raises:
            InputError: the disk is full.
        """
        if frames.dtype.is_floating_point or frames.ndim != 4 or frames.shape[-1] != 3:
            raise TypeError(f"frames must be uint8 [F, H, W, 3], got {frames.dtype} {list(frames.shape)}")
        try:
            for picture in frames.cpu().numpy():
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                    format="yuv420p",
                    dst_colorspace=Colorspace.ITU709,
                    dst_color_range=ColorRange.MPEG,
                )
                self._container.mux(self._stream.encode(frame))
                self.frames_written += 1
        except OSError as error:
            self._write_failed = True
            raise self._explained(error) from error

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _undisturbed():
            if self.frames_written == 0 or self._write_failed:
                self._discard()
                return
            try:
                self._container.mux(self._stream.encode(None))
                self._container.close()
                os.replace(self._part, self.path)
            except OSError as failure:
                self._discard()
                raise self._explained(failure) from failure

    def _discard(self) -> None:
        with suppress(OSError, av.FFmpegError):  # a file that is thrown away need not end well
            self._container.close()
        discard(self._part)

    def _explained(self, error: OSError) -> InputError:
        if error.errno == errno.ENOSPC:
            return InputError(
                f"There is no space left on the disk that holds {self.path.parent.resolve()}: "
                "free some or choose another output folder."
            )
        reason = os.strerror(error.errno) if error.errno else str(error)
        return InputError(f"The video {self.path} cannot be written ({reason}): choose another output folder.")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C for the moment it takes to finish a file: who presses it twice would lose the video otherwise."""
    if threading.current_thread() is not threading.main_thread():  # only that one may, and only that one is interrupted
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
