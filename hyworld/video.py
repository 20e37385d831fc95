"""Writing the video while it is made, chunk by chunk, through PyAV (FFmpeg's libraries).

Memory stays flat however long the walk is, and a walk that is interrupted leaves a playable file.
"""

from __future__ import annotations

import errno
import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
from av.video.reformatter import ColorRange, Colorspace
from torch import Tensor

from .config import FRAMES_PER_SECOND
from .errors import InputError

_BT709 = 1  # FFmpeg's number for BT.709 primaries, transfer and matrix; without it players guess the colours
_LIMITED_RANGE = 1


class VideoWriter:
    """H.264 in MP4, written under a temporary name beside `path` and renamed when it is whole.

    Use it as a context manager. Leaving it by an exception (Ctrl-C too) still finishes and keeps the
    frames written so far; with none written, or with a full disk, nothing stays behind.

    Raises:
        InputError: another ending than .mp4, a missing folder, no right to write, a full disk, or an
            existing file without `overwrite`.
    """

    def __init__(
        self, path: str | Path, height: int, width: int, *, fps: int = FRAMES_PER_SECOND, overwrite: bool = False
    ) -> None:
        self.path = Path(path)
        self.frames_written = 0
        if self.path.suffix.lower() != ".mp4":
            raise InputError(
                f"The video is written as MP4: give an output name that ends in .mp4, not {self.path.name}."
            )
        if self.path.is_dir():
            raise InputError(f"{self.path} is a folder: give the name of the video file to write.")
        if self.path.exists() and not overwrite:
            raise InputError(f"{self.path} exists already: choose another name or add --overwrite.")
        if not self.path.parent.is_dir():
            raise InputError(f"The folder {self.path.parent} does not exist: create it or choose another output name.")
        self._part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            # Opened by Python first: its error for a folder one may not write to is the clearer one.
            self._part.touch()
            self._container: Any = av.open(str(self._part), "w", format="mp4")
        except OSError as error:
            self._part.unlink(missing_ok=True)
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
            raise self._explained(error) from error

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        out_of_space = isinstance(error, InputError)
        if self.frames_written == 0 or out_of_space:
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
        try:
            self._container.close()
        except (OSError, ValueError):
            pass  # a file that is thrown away need not end well
        finally:
            self._part.unlink(missing_ok=True)

    def _explained(self, error: OSError) -> InputError:
        if error.errno == errno.ENOSPC:
            return InputError(
                f"There is no space left on the disk that holds {self.path.parent.resolve()}: "
                "free some or choose another output folder."
            )
        reason = os.strerror(error.errno) if error.errno else str(error)
        return InputError(f"The video {self.path} cannot be written ({reason}): choose another output folder.")
