"""Training samples: walks from worker processes, rendered and encoded on the GPU."""

from __future__ import annotations

import multiprocessing
import multiprocessing.context
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyworld.config import CHUNK_LATENTS, VAE_TEMPORAL_STRIDE, frames_in
from hyworld.vae import VAECache, Wan22VAE

from .batched import MEMORY, Sample
from .paths import FOCAL, Walks, draw_walks, frame_poses
from .scenes import Scenes, render
from .sizes import LATENT_SIZE, PATH_LATENTS, SIZE, Z_DIM

PER_TASK = 16
"""Walks per worker task (under a second)."""


def _task(first_seed: int, count: int, latents: int) -> list[list[NDArray[np.generic]]]:
    # NumPy arrays, because tensors would use shared-memory handles, which run out.
    torch.set_num_threads(1)
    scenes, walks = draw_walks(list(range(first_seed, first_seed + count)), latents)
    return [[getattr(value, field.name).numpy() for field in fields(value)] for value in (scenes, walks)]


def _context() -> multiprocessing.context.BaseContext:
    """A fork server that has imported PyTorch but not used the GPU; fourteen separate imports take a minute."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_context.__module__])
    return context


class WalkSource:
    """Scenes and walks of consecutive seeds, drawn ahead by worker processes; with 0 workers in this one."""

    def __init__(self, first_seed: int, *, workers: int, latents: int = PATH_LATENTS) -> None:
        self.next_seed, self._latents = first_seed, latents
        self._executor = ProcessPoolExecutor(workers, mp_context=_context()) if workers else None
        self._pending: list[Future[list[list[NDArray[np.generic]]]]] = []
        self._scheduled = first_seed
        self._ahead = 2 * workers

    def take(self, count: int) -> tuple[Scenes, Walks]:
        """The next `count` scenes and walks (a multiple of 16 if workers draw them)."""
        if self._executor is None:
            parts = [_task(self.next_seed, count, self._latents)]
        else:
            parts = []
            for _ in range(count // PER_TASK):
                self._schedule()
                parts.append(self._pending.pop(0).result())
            self._schedule()
        self.next_seed += count
        scenes, walks = (
            [torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*kind, strict=True)]
            for kind in zip(*parts, strict=True)
        )
        return Scenes(*scenes), Walks(*walks)

    def _schedule(self) -> None:
        assert self._executor is not None
        while len(self._pending) < max(1, self._ahead):
            self._pending.append(self._executor.submit(_task, self._scheduled, PER_TASK, self._latents))
            self._scheduled += PER_TASK

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)


class Clips:
    """Short video clips along walks, rendered on demand, for the VAE."""

    def __init__(self, scenes: Scenes, walks: Walks, *, device: torch.device, compiled: bool) -> None:
        self.scenes = scenes.to(device)
        poses = frame_poses(walks.poses.to(device))
        self.poses = self.scenes.start[:, None] @ poses
        self._compiled = compiled

    def draw(self, count: int, frames: int, generator: torch.Generator) -> Tensor:
        """Random clips `[count, 3, frames, H, W]` in [-1, 1], float32."""
        S, total = self.poses.shape[:2]
        which = torch.randint(S, (count,), generator=generator)
        start = torch.randint(total - frames + 1, (count,), generator=generator)
        at = (start[:, None] + torch.arange(frames)).to(self.poses.device)
        which = which.to(self.poses.device)
        return render(self.scenes[which], self.poses[which[:, None], at], FOCAL, SIZE, compiled=self._compiled)


@torch.no_grad()
def filmed(
    vae: Wan22VAE, scenes: Scenes, poses: Tensor, *, compiled: bool = False, at_once: int = 8
) -> Iterator[tuple[Tensor, Tensor]]:
    """Videos along start-relative `poses` in pieces: frames `[S, 3, F, H, W]` in [-1, 1], float32, and their latents.

    The latents `[S, Z, at_once, h, w]` are normalised, float32.
    """
    placed = scenes.start[:, None] @ frame_poses(poses)
    parameter = next(vae.parameters())
    cache: VAECache | None = None
    for begin in range(0, poses.shape[1], at_once):
        end = min(begin + at_once, poses.shape[1])
        first, last = frames_in(begin), frames_in(end)
        # The first piece has three frames less; padding it avoids a second compiled shape.
        padding = VAE_TEMPORAL_STRIDE * (end - begin) - (last - first)
        piece = placed[:, first:last]
        piece = torch.cat((piece[:, :1].expand(-1, padding, -1, -1), piece), dim=1)
        video = render(scenes, piece, FOCAL, SIZE, compiled=compiled)[:, :, padding:]
        latents, cache = vae.encode_stream(video.to(parameter.dtype), cache)
        yield video, latents.float()


class LatentPool:
    """Walks as latents on the GPU; new ones replace the oldest beyond `capacity`."""

    def __init__(self, capacity: int, *, latents: int = PATH_LATENTS, device: torch.device) -> None:
        chunks = latents // CHUNK_LATENTS
        self.latents = torch.zeros(capacity, Z_DIM, latents, *LATENT_SIZE, dtype=torch.float16, device=device)
        self.viewmats = torch.zeros(capacity, latents, 4, 4, device=device)
        self.labels = torch.zeros(capacity, latents, dtype=torch.int64, device=device)
        self.memory = torch.zeros(capacity, chunks, 16, dtype=torch.int64, device=device)
        self.chunks, self.capacity, self.filled, self._next = chunks, capacity, 0, 0

    def add(self, vae: Wan22VAE, scenes: Scenes, walks: Walks, *, compiled: bool = False, batch: int = 16) -> None:
        device = self.latents.device
        for part in torch.arange(len(scenes)).split(batch):
            some, poses = scenes[part].to(device), walks.poses[part].to(device)
            at = (torch.arange(self._next, self._next + len(part)) % self.capacity).to(device)
            pieces = [latents for _, latents in filmed(vae, some, poses, compiled=compiled)]
            self.latents[at] = torch.cat(pieces, dim=2).half()
            self.viewmats[at] = torch.linalg.inv(poses)
            self.labels[at] = walks.labels[part].to(device)
            self.memory[at] = walks.memory[part].to(device)
            self._next = (self._next + len(part)) % self.capacity
            self.filled = min(self.capacity, self.filled + len(part))


def sample_of(
    pool: LatentPool,
    walks: Tensor,
    chunk: int,
    history: Tensor | None = None,
    *,
    chunks: int = 1,
    held: int = 0,
    reach: int = MEMORY,
) -> Sample:
    """`chunks` chunks from `chunk` on of `walks` `[B]` in the pool, with the memory of the first.

    history: latents to remember (default: the pool's). reach: keep only so many of the remembered latents, the last.
    """
    now, latents_now = CHUNK_LATENTS * chunk, CHUNK_LATENTS * chunks
    remembered = pool.memory[walks, chunk, : min(now, MEMORY)]
    remembered = remembered[:, max(0, remembered.shape[1] - reach) :]
    here = torch.arange(now, now + latents_now, device=walks.device).expand(len(walks), -1)
    frames = torch.cat((remembered, here), dim=1)
    at = walks[:, None]
    latents = pool.latents[walks].float() if history is None else history
    rows = torch.arange(len(walks), device=walks.device)[:, None]
    return Sample(
        memory=latents[rows, :, remembered].transpose(1, 2).float(),
        target=pool.latents[walks, :, now : now + latents_now].float(),
        viewmats=pool.viewmats[at, frames],
        labels=pool.labels[at, frames],
        held=held,
    )
