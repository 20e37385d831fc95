"""VIDEO written to a file while the walk goes on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import folder_paths
from comfy_api.latest import InputImpl
from torch import Tensor

from ...hyworld.config import FRAMES_PER_SECOND
from ...hyworld.video import VideoWriter
from .run import was_cancelled

UNFINISHED = "hyworld_unfinished"
"""Folder of walks in work, in the output folder: the host empties its temporary one when it starts, also after a
crash."""


def unfinished_folder() -> Path:
    """`UNFINISHED`, made if it is not there."""
    folder = Path(folder_paths.get_output_directory(), UNFINISHED)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class VideoFile:
    """Context manager: `add` frames inside, take `video` after it. A walk that fails leaves its file in `UNFINISHED`.

    size: (height, width) in pixels.
    fps: frames per second.
    live: encoded in a quarter of the time; one that is cancelled leaves its file too.
    """

    def __init__(self, size: tuple[int, int], *, fps: int = FRAMES_PER_SECOND, live: bool = False) -> None:
        self.writer = VideoWriter(unfinished_folder() / "walk.mp4", *size, fps=fps, or_next=True, quick=live)
        self._live = live
        self._file: Path | None = None

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.__exit__(kind, error, trace)
        if was_cancelled(error) and not self._live:
            self.writer.path.unlink(missing_ok=True)
        elif error is None:
            self._file = _moved_to_temporary(self.writer.path)

    def add(self, frames: Tensor) -> None:
        """The next frames, uint8 `[F, H, W, 3]`."""
        self.writer.write(frames)

    @property
    def unfinished(self) -> Path | None:
        """The file of a walk that failed, if there is one; only after leaving."""
        return self.writer.path if self._file is None else None

    @property
    def video(self) -> Any:
        """VIDEO, which core Save Video copies as it is."""
        return InputImpl.VideoFromFile(str(self._file))


def _moved_to_temporary(file: Path) -> Path:
    folder = folder_paths.get_temp_directory()
    os.makedirs(folder, exist_ok=True)
    place, name, counter, _, _ = folder_paths.get_save_image_path("hyworld_walk", folder)
    target = Path(place, f"{name}_{counter:05}_.mp4")
    shutil.move(file, target)
    return target
