"""Compares walks with rendered truth."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor

from hyworld.camera import Trajectory
from hyworld.config import VAE_TEMPORAL_STRIDE
from hyworld.dit import WanDiT
from hyworld.vae import TinyDecoder, Wan22VAE

from .batched import walk
from .paths import FOCAL, frame_poses
from .pictures import save_sheet
from .scenes import Scenes, depths, draw_scenes, render, seen_from
from .sizes import SIZE
from .vae import psnr

FIRST_CHUNKS = ("w-11", "right-11")
"""Paths of three chunks on which following the camera is measured."""

FRAMES_AT_ONCE = 32
"""Frames of a scene rendered together; rendering takes some hundred bytes per pixel."""


class Truth:
    """Rendered views of S scenes along one path, from each scene's start."""

    def __init__(self, scenes: Scenes, path: Trajectory, *, at_once: int = 16) -> None:
        self.scenes, self._at_once = scenes, at_once
        poses = torch.tensor(path.c2w).float().to(scenes.start.device)
        self.poses = scenes.start[:, None] @ frame_poses(poses[None])

    def __getitem__(self, part: Tensor) -> Truth:
        some = copy.copy(self)
        some.scenes, some.poses = self.scenes[part], self.poses[part]
        return some

    def frames(self, which: slice | list[int] = slice(None)) -> Tensor:
        """Pictures `[S, 3, F, H, W]` in [-1, 1] of the chosen frames."""
        videos = []
        for part in torch.arange(len(self.scenes)).split(self._at_once):
            scenes, poses = self.scenes[part], self.poses[part][:, which]
            pieces = [render(scenes, piece, FOCAL, SIZE) for piece in poses.split(FRAMES_AT_ONCE, dim=1)]
            videos.append(torch.cat(pieces, dim=2))
        return torch.cat(videos)

    def seen_at_first(self, which: slice | list[int] = slice(None)) -> Tensor:
        """Mask `[S, F, H, W]` of pixels whose content the first frame shows."""
        masks = []
        for p in torch.arange(len(self.scenes)).split(self._at_once):
            scenes, poses = self.scenes[p], self.poses[p]
            first = depths(scenes, poses[:, :1], FOCAL, SIZE)[:, 0]
            masks.append(
                seen_from(depths(scenes, poses[:, which], FOCAL, SIZE), poses[:, which], first, poses[:, 0], FOCAL)
            )
        return torch.cat(masks)


def first_latents(vae: Wan22VAE, scenes: Scenes) -> Tensor:
    """Latents `[S, C, 1, h, w]` of the first frames."""
    pictures = render(scenes, scenes.start[:, None], FOCAL, SIZE)
    return vae.encode_stream(pictures.to(next(vae.parameters()).dtype))[0].float()


@torch.no_grad()
def decoded(vae: Wan22VAE | TinyDecoder, latents: Tensor, *, at_once: int = 8) -> Tensor:
    """Latents `[S, C, L, h, w]` → frames `[S, 3, F, H, W]` in [-1, 1], float32; `at_once` scenes and latents a call."""
    dtype = next(vae.parameters()).dtype
    videos = []
    for some in latents.split(at_once):
        cache, frames = None, []
        for piece in some.split(at_once, dim=2):
            part, cache = vae.decode_stream(piece.to(dtype), cache)
            frames.append(part.float().clamp(-1, 1))
        videos.append(torch.cat(frames, dim=2))
    return torch.cat(videos)


def masked_psnr(frames: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """PSNR `[S]` in dB of frames `[S, 3, F, H, W]` over the pixels of `mask` `[S, F, H, W]`."""
    error = (frames - truth).square().mean(dim=1) * mask
    mean = error.sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3)).clamp(min=1)
    return 10 * torch.log10(4 / mean.clamp(min=1e-10))


@torch.no_grad()
def walk_report(network: WanDiT, vae: Wan22VAE, first_seed: int, scenes: int, sheet: Path) -> str:
    """PSNR lines for scenes from `first_seed` on, and `sheet`: truth, walk, walk with frozen cameras."""
    device = next(vae.parameters()).device
    seeds = list(range(first_seed, first_seed + scenes))
    world = draw_scenes(seeds).to(device)
    first = first_latents(vae, world)
    lines, rows = [], []
    for tokens in FIRST_CHUNKS:
        path = Trajectory.from_tokens(tokens)
        truth = Truth(world, path)
        want, seen = truth.frames(), truth.seen_at_first()
        moved, frozen = (decoded(vae, walk(network, first, path, seeds, frozen=frozen)) for frozen in (False, True))
        # Without the first frame, which is given.
        ours, still = (masked_psnr(video[:, :, 1:], want[:, :, 1:], seen[:, 1:]) for video in (moved, frozen))
        everything = psnr((moved - want)[:, :, 1:].square().mean().item())
        lines.append(
            f"{tokens}: on pixels seen at first {ours.mean():.2f} dB (worst {ours.min():.2f}), cameras frozen "
            f"{still.mean():.2f} dB; all pixels {everything:.2f} dB"
        )
        columns = slice(0, None, 2 * VAE_TEMPORAL_STRIDE)
        rows += [video[:3, :, columns] for video in (want, moved, frozen)]
    save_sheet(torch.stack(rows).transpose(0, 1).flatten(0, 1), sheet)
    return "\n".join(lines)
