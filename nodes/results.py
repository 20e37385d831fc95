"""The large outputs of a walk, filled chunk by chunk: those that are wired, so that a walk of any length fits."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from ..hyworld.walk import Chunk, Step
from ..hyworld.walk.autosave import Autosave
from .frames import Frames
from .host.run import output_device, was_cancelled
from .host.vae import HostVAE
from .host.video import VideoFile, unfinished_folder
from .plan import Plan

IMAGES, LATENTS, VIDEO = 0, 1, 4
"""Their numbers among the outputs."""

AUTOSAVE = 4
"""Chunks between two saves of a walk's world, for Load World after a crash."""


class Results:
    """A context manager: on leaving, the video's file is complete. A crash leaves the video and the world so far.

    wanted: numbers of the outputs to make; the others are None.
    """

    def __init__(self, plan: Plan, wanted: set[int]) -> None:
        self._plan = plan
        self._latents = LATENTS in wanted
        self._frames = Frames(plan.frames, plan.start.size, output_device()) if IMAGES in wanted else None
        self._video = VideoFile(plan.start.size, fps=plan.walker.recipe.frames_per_second) if VIDEO in wanted else None
        self._saves = Autosave(unfinished_folder() / "walk.part.world", every=AUTOSAVE)
        self._open = ExitStack()

    def __enter__(self) -> Results:
        if self._video is not None:
            self._open.enter_context(self._video)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if was_cancelled(error):  # the sampler keeps that world for the next run
            kind = None
        self._saves.__exit__(kind, error, trace)
        self._open.__exit__(type(error) if error else None, error, trace)

    def add(self, chunk: Chunk) -> None:
        """The next chunk."""
        if self._frames is not None:
            self._frames.append(chunk.frames)
        if self._video is not None:
            self._video.add(chunk.frames)
        self._saves.keep(chunk)

    @property
    def image_bytes(self) -> int:
        """What the frames take as IMAGE; 0 if that is not wanted."""
        return 0 if self._frames is None else self._frames.images.nbytes

    @property
    def images(self) -> Tensor | None:
        return None if self._frames is None else self._frames.images

    @property
    def video(self) -> Any:
        """VIDEO; only after leaving."""
        return None if self._video is None else self._video.video

    def latents(self, history: tuple[Step, ...]) -> dict[str, Tensor] | None:
        """LATENT of the chunks walked."""
        return {"samples": _raw(history, self._plan.vae)} if self._latents else None


def _raw(history: tuple[Step, ...], vae: HostVAE) -> Tensor:
    """Latents as LATENT sockets carry them, chunk by chunk, so that they lie in memory once."""
    _, C, n, h, w = history[0].latents.shape
    raw = torch.empty((1, C, n * len(history), h, w), device=output_device())
    for i, step in enumerate(history):
        raw[:, :, i * n : (i + 1) * n] = vae.denormalise(step.latents.float())
    return raw
