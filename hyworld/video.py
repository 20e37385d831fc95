"""Write the video chunk by chunk on its own thread: memory stays flat, and a killed walk leaves a playable file."""

from __future__ import annotations

import errno
import os
import shutil
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import av
from torch import Tensor

from .atomic import check_new_file, discard, numbered, publish, temporary_name, undisturbed
from .config import FRAMES_PER_SECOND
from .errors import InputError
from .mp4 import LONGEST_SIDE, OPTIONS, QUICK, check_encoder, encode_chunk, write_ordinary

LEAST_SPACE = 1 << 20
"""Bytes that must be free at the start; a video of a few seconds is larger."""

_IN_WORK = 1
"""Chunks that may still be encoding when `write` returns."""


class VideoWriter:
    """H.264 in MP4, written to walk.part.mp4 (walk.part-2.mp4, … if that exists) until walk.mp4 is complete.

    A context manager. Each `write` adds a fragment, playable before the next `write` returns: a killed process leaves
    walk.part.mp4 with all but the last chunk or two. On exit, also by an exception, the fragments are remuxed into an
    ordinary MP4, because many players cannot seek in fragments; without room for that copy, the fragmented file becomes
    the video. If the disk fills up, walk.part.mp4 stays, with the frames before. Without frames nothing is left.

    path: ends in .mp4; as attribute, the video's name, with `or_next` final on exit.
    height, width: in pixels.
    overwrite: replace `path` if it exists.
    or_next: if `path` exists when the video is complete, take path-2, path-3, … instead.
    quick: encode in a quarter of the time, into a file a tenth larger; for a walk in real time.
    frames_written: number of frames in the file.

    Raises `InputError` for another ending, a missing folder, no right to write, a full disk, an existing file without
    `overwrite` or `or_next`, a side above `LONGEST_SIDE`, or PyAV without x264.
    """

    def __init__(
        self,
        path: str | Path,
        height: int,
        width: int,
        *,
        fps: int = FRAMES_PER_SECOND,
        overwrite: bool = False,
        or_next: bool = False,
        quick: bool = False,
    ) -> None:
        self.path = Path(path)
        self.frames_written = 0
        self._size = (height, width)
        self._fps = fps
        self._options = QUICK if quick else OPTIONS
        self._overwrite = overwrite
        self._or_next = or_next
        self._file: BinaryIO | None = None
        self._ends: dict[int, int] = {}  # bytes of the file by the frames in it, for every whole fragment
        self._failure: Exception | None = None
        self._encoder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="video")
        self._pending: deque[Future[None]] = deque()

        check_new_file(self.path, ".mp4", overwrite=overwrite or or_next)
        if max(height, width) > LONGEST_SIDE:
            raise InputError(
                f"A video has at most {LONGEST_SIDE} pixels a side, got {height}x{width}: choose a smaller size."
            )
        check_encoder()
        try:
            if shutil.disk_usage(self.path.parent).free < LEAST_SPACE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            # Only a trial: a process killed before its first frames leaves no empty file.
            with self._open_part() as file:
                tried = Path(file.name)
            discard(tried)
        except OSError as error:
            raise self._explained(error) from error

    def write(self, frames: Tensor) -> None:
        """Append uint8 `[F, H, W, 3]`, which must not change afterwards; raises `InputError` if the disk is full.

        Returns once the previous call's frames are in the file; these are encoded meanwhile.
        """
        if frames.dtype.is_floating_point or frames.ndim != 4 or frames.shape[-1] != 3:
            raise TypeError(f"frames must be uint8 [F, H, W, 3], got {frames.dtype} {list(frames.shape)}")
        if frames.shape[1:3] != self._size:
            raise ValueError(f"frames must be {self._size} (height, width), got {tuple(frames.shape[1:3])}")
        # Submit, then wait: an interrupt while waiting loses nothing.
        self._pending.append(self._encoder.submit(self._append, frames.cpu()))
        self._wait(_IN_WORK)

    def flush(self) -> None:
        """Wait until all frames are in the file; raises `InputError` if the disk is full."""
        self._wait(0)

    def rewind(self, frames: int) -> None:
        """Drop all after so many frames, which end where a `write` ended; what is written next follows them.

        Returns when that is done; raises `InputError` as `flush`.
        """
        self.flush()
        if frames == self.frames_written:
            return
        end = self._end_of(frames)
        assert self._file is not None
        try:
            self._file.truncate(end)
        except OSError as error:
            raise self._explained(error) from error
        self._file.seek(end)
        self.frames_written = frames
        self._ends = {count: end for count, end in self._ends.items() if count <= frames}

    def copy(self, target: Path, frames: int | None = None) -> int:
        """Write the first `frames` (default: all), which end where a `write` ended, to `target`, an ordinary MP4.

        Returns their number; without any there is no file. Raises `InputError` if the disk is full.
        """
        self.flush()
        frames = self.frames_written if frames is None else frames
        if not frames:
            return 0
        end, whole, cut = self._end_of(frames), temporary_name(target), temporary_name(target)
        assert self._file is not None
        try:
            shutil.copyfile(self._file.name, cut)
            os.truncate(cut, end)
            write_ordinary(cut, whole)
            os.replace(whole, target)
        except OSError as error:
            raise self._explained(error) from error
        finally:
            discard(cut)
            discard(whole)
        return frames

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with undisturbed():
            self._encoder.shutdown()
            if self._file is None:
                part = None
            else:
                part = Path(self._file.name)
                with suppress(OSError):  # all that counts was flushed
                    self._file.close()
            if part is not None:
                if not self.frames_written:
                    discard(part)
                elif isinstance(self._failure, InputError):
                    os.truncate(part, self._ends[self.frames_written])
                else:
                    self._finish(part)
            if self._failure is not None and error is not self._failure:
                raise self._failure

    def _wait(self, in_work: int) -> None:
        while len(self._pending) > in_work:
            self._pending[0].result()
            self._pending.popleft()

    def _append(self, frames: Tensor) -> None:
        """On the encoder's thread: encode a chunk and add its fragment, unless an earlier one failed."""
        if self._failure is not None:
            return
        try:
            end = self._add(*encode_chunk(frames, first=self.frames_written, fps=self._fps, options=self._options))
        except OSError as error:
            sentence = str(self._explained(error))
            if self._file is not None and self.frames_written:
                sentence += f" The {self.frames_written} frames before are kept in {self._file.name}."
            self._failure = InputError(sentence)
            raise self._failure from error
        except Exception as error:
            self._failure = error
            raise
        self.frames_written += len(frames)
        self._ends[self.frames_written] = end

    def _add(self, header: bytes, fragment: bytes) -> int:
        """Returns the bytes of the file then."""
        if self._file is None:
            self._file = self._open_part()
            self._ends[0] = self._file.write(header)
        # The fragment's size and type go last: until then the file ends here for players.
        start = self._file.tell()
        self._file.write(bytes(8) + fragment[8:])
        self._file.flush()
        self._file.seek(start)
        self._file.write(fragment[:8])
        self._file.flush()
        return self._file.seek(0, os.SEEK_END)

    def _end_of(self, frames: int) -> int:
        if frames not in self._ends:
            raise ValueError(f"{frames} frames do not end where a chunk ended: {sorted(self._ends)}")
        return self._ends[frames]

    def _open_part(self) -> BinaryIO:
        for part in numbered(self.path.with_suffix(".part.mp4")):
            with suppress(FileExistsError):
                return part.open("xb")
        raise AssertionError("numbers do not end")

    def _finish(self, part: Path) -> None:
        whole = temporary_name(self.path)
        try:
            write_ordinary(part, whole)
        except (OSError, av.FFmpegError):
            discard(whole)
            whole = part
        try:
            self.path = publish(whole, self.path, overwrite=self._overwrite, or_next=self._or_next)
        except (InputError, OSError) as error:
            with suppress(OSError):  # `part` holds the same frames
                os.replace(whole, part)
            reason = self._explained(error) if isinstance(error, OSError) else error
            raise InputError(f"{reason} This walk is kept as {part}.") from error
        discard(part)

    def _explained(self, error: OSError) -> InputError:
        if error.errno == errno.ENOSPC:
            return InputError(
                f"There is no space left on the disk that holds {self.path.parent.resolve()}: "
                "free some or choose another output folder."
            )
        reason = os.strerror(error.errno) if error.errno else str(error)
        return InputError(f"The video {self.path} cannot be written ({reason}): choose another output folder.")
